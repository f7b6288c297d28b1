//! `bessai-edge completions`: completion scripts for shells.

use clap::{Command, ValueEnum};
use clap_complete::{Shell, generate};

use super::output::{OutputError, print};

/// A shell with a completion script.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script that completes `command`.
pub(super) fn run(shell: CompletionShell, mut command: Command) -> Result<(), OutputError> {
    let name = command.get_name().to_owned();
    let mut script = |shell: Shell| {
        // Generated in memory, because clap_complete panics if a write fails.
        let mut script = Vec::new();
        generate(shell, &mut command, &name, &mut script);
        String::from_utf8_lossy(&script).into_owned()
    };
    let script = match shell {
        CompletionShell::Bash => with_one_spelling(&script(Shell::Bash), &name),
        CompletionShell::Zsh => script(Shell::Zsh),
        CompletionShell::Fish => script(Shell::Fish),
    };
    print(script)
}

/// clap_complete 4.6 spells a program name with a hyphen in two ways: `a__b` where its bash script enters the state of a
/// subcommand, and `a__subcmd__b` where it looks that state up. Nothing after a subcommand would be completed.
fn with_one_spelling(script: &str, name: &str) -> String {
    script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}
