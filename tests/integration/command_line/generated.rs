//! Completion scripts and manual pages, which are generated from the commands.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{INTERNAL_COMMAND, all_commands, printed, text};
use crate::support::gateway::Setup;

/// The shells with a completion script.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

#[test]
fn shells_get_completions() {
    for shell in SHELLS {
        let script = printed(&["completions", shell]);
        for word in ["completions", "journal", "export", "--last", "huawei-sun2000"] {
            let word = if shell == "fish" { word.trim_start_matches("--") } else { word };
            assert!(script.contains(word), "{shell}: {word} is missing");
        }
    }
    let output = Setup::new().output(&["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("[possible values: bash, zsh, fish]"));
}

#[test]
fn bash_completes_commands_and_options() {
    let script = printed(&["completions", "bash"]);
    let mut check = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(check.wait().unwrap().success());

    let complete = |words: &[&str]| {
        let (last, previous) = (words.last().unwrap(), words[words.len() - 2]);
        let run = format!(
            "{script}\nfunction=$(complete -p bessai-edge | grep -o -- '-F [^ ]*')\n\
             COMP_WORDS=({}); COMP_CWORD={}; ${{function#-F }} bessai-edge '{last}' {previous}; echo \"${{COMPREPLY[*]}}\"",
            words.join(" "),
            words.len() - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &run]).output().unwrap();
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete(&["bessai-edge", "comp"]), "completions");
    assert_eq!(complete(&["bessai-edge", "journal", "ex"]), "export");
    assert_eq!(complete(&["bessai-edge", "journal", "export", "--la"]), "--last");
    assert_eq!(complete(&["bessai-edge", "demo", "--profile", "hua"]), "huawei-sun2000");
}

#[test]
fn manual_pages_describe_every_command() {
    let page = printed(&["man"]);
    assert!(page.contains("\n.TH bessai-edge 1 ") && page.contains("\n.SH EXAMPLES\n"), "{page}");
    assert!(page.contains("bessai\\-edge\\-completions(1)"), "{page}");
    let setup = Setup::new();
    let output = setup.output(&["man", "--out", "share/man1"]);
    assert_eq!(text(&output.stdout), format!("{} manual pages in share/man1\n", all_commands().len()));
    for command in all_commands() {
        let name = [&["bessai-edge".to_owned()], command.as_slice()].concat().join("-");
        let path = setup.folder().join(format!("share/man1/{name}.1"));
        let page = std::fs::read_to_string(&path).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS"] {
            assert!(
                page.contains(&format!("\n.SH {section}\n")) || page.contains(&format!("\n.SH \"{section}\"\n")),
                "{name} has no {section}: {page}"
            );
        }
        // groff warns about each request that it does not know.
        if let Ok(rendered) = Command::new("groff").args(["-man", "-ww", "-Tutf8"]).arg(&path).output() {
            assert!(rendered.status.success() && rendered.stderr.is_empty(), "{name}: {}", text(&rendered.stderr));
            assert!(text(&rendered.stdout).contains("bessai-edge"), "{name}");
        }
    }
    std::fs::write(setup.folder().join("file"), "").unwrap();
    let output = setup.output(&["man", "--out", "file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("failed to write to file: "), "{}", text(&output.stderr));
}

#[test]
fn the_internal_command_is_mentioned_nowhere() {
    let mut texts: Vec<_> = SHELLS.iter().map(|shell| printed(&["completions", shell])).collect();
    texts.push(printed(&["help"]));
    for command in all_commands() {
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        texts.push(printed(&[words.as_slice(), &["--help"]].concat()));
    }
    let setup = Setup::new();
    assert!(setup.output(&["man", "--out", "man1"]).status.success());
    for entry in std::fs::read_dir(setup.folder().join("man1")).unwrap() {
        texts.push(std::fs::read_to_string(entry.unwrap().path()).unwrap().replace("\\-", "-"));
    }
    for text in texts {
        assert!(!text.contains(INTERNAL_COMMAND), "{text}");
    }
}
