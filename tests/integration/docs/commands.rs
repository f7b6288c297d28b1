//! Commands that are named in sentences and tables, and those that cannot run here: they exist, and take what they are given.

use std::process::Command;

use crate::docs::page::{page, pages, spans};
use crate::support::gateway::Setup;
use crate::support::root;

/// The help of a command of the program, or nothing where it has no such command.
fn help(words: &[&str]) -> Option<String> {
    let output = Setup::new().output(&[words, &["--help"]].concat());
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// The commands that the words of a command line begin with.
fn subcommands<'a>(words: &[&'a str]) -> Vec<&'a str> {
    const GROUPS: [&str; 6] = ["broker", "control", "device", "feed", "journal", "plugin"];
    match words {
        [group, command, ..] if GROUPS.contains(group) => vec![group, command],
        [command, ..] => vec![command],
        [] => Vec::new(),
    }
}

/// What is wrong with a command line of the program, if anything is.
fn fault(words: &[&str]) -> Option<String> {
    if words.first().is_none_or(|word| word.starts_with('-') || word.chars().all(char::is_uppercase)) {
        return None;
    }
    let command = subcommands(words);
    let Some(help) = help(&command) else { return Some(format!("there is no command `{}`", command.join(" "))) };
    let options = words.iter().map(|word| word.trim_matches(['[', ']'])).filter(|word| word.starts_with("--"));
    let unknown = options
        .filter(|option| *option != "--help")
        .find(|option| !help.contains(&format!("{option} ")) && !help.contains(&format!("{option}\n")));
    unknown.map(|option| format!("`{}` has no {option}", command.join(" ")))
}

/// What is wrong with a script's command line, if anything is.
fn script_fault(words: &[&str]) -> Option<String> {
    let path = root().join(words[0]);
    let Ok(text) = std::fs::read_to_string(&path) else { return Some(format!("{} is missing", words[0])) };
    let passed_on = match words[0] {
        "scripts/demo" => return fault(&[&["demo"], &words[1..]].concat()),
        "scripts/bench" => std::fs::read_to_string(root().join("tests/bench/main.rs")).unwrap(),
        _ => String::new(),
    };
    let options = words.iter().map(|word| word.trim_matches(['[', ']'])).filter(|word| word.starts_with("--"));
    let name = |option: &str| option.split('=').next().unwrap_or_default().to_owned();
    let unknown =
        options.map(name).find(|option| !text.contains(option.as_str()) && !passed_on.contains(option.as_str()));
    unknown.map(|option| format!("{} has no {option}", words[0]))
}

#[test]
fn commands_in_sentences_exist() {
    let mut found = 0;
    for page in pages() {
        for (line, span) in page.spans() {
            // A variable in front is for the command.
            let words: Vec<_> =
                span.split(' ').skip_while(|word| word.contains('=') && !word.starts_with('-')).collect();
            let fault = match words.as_slice() {
                ["bessai-edge", rest @ ..] if !rest.is_empty() => fault(rest),
                [script, ..] if script.starts_with("scripts/") && !script.contains('*') => script_fault(&words),
                _ => continue,
            };
            found += 1;
            assert_eq!(fault, None, "{}:{line}: `{span}`", page.name);
        }
    }
    assert!(found > 20, "{found}");
}

#[test]
fn every_command_is_listed_and_no_other() {
    for (name, anchor) in [("docs/operations.md", "commands"), ("docs/es/operations.md", "comandos")] {
        let rows = page(name).tables_under(anchor).concat();
        let mut listed = Vec::new();
        for row in rows.iter().skip(1) {
            let first = spans(&row[0]).remove(0).1;
            let words: Vec<_> = first.split(' ').collect();
            assert_eq!(fault(&words), None, "{name}: `{first}`");
            let command = subcommands(&words);
            let help = help(&command).unwrap();
            for (_, option) in spans(&row[1]).into_iter().filter(|(_, span)| span.starts_with("--")) {
                let option = option.split(' ').next().unwrap().to_owned();
                assert!(help.contains(&option), "{name}: `{first}` has no {option}");
            }
            listed.push(command.join(" "));
        }
        for command in all_commands() {
            assert!(listed.contains(&command), "{name} does not list `{command}`");
        }
    }
}

/// All commands that the program's help shows.
fn all_commands() -> Vec<String> {
    let of = |words: &[&str]| -> Vec<String> {
        let help = help(words).unwrap();
        let section = help.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
        let names = section.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        names.map(str::to_owned).collect()
    };
    let mut all = Vec::new();
    for command in of(&[]) {
        let below = of(&[&command]);
        all.extend(below.iter().map(|name| format!("{command} {name}")));
        if below.is_empty() {
            all.push(command);
        }
    }
    assert!(all.len() > 10, "{all:?}");
    all
}

/// Their files are a plant's own: the arguments are read, then the file is missing.
#[test]
fn commands_that_need_a_site_take_their_arguments() {
    for block in pages().into_iter().flat_map(|page| page.blocks).filter(|block| block.info == "sh parse-only") {
        for line in block.body.replace("\\\n", " ").lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(words[0], "bessai-edge", "{}:{}", block.page, block.line);
            let output = Setup::new().output(&words[1..]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{}:{}: {told}", block.page, block.line);
            assert!(told.contains("No such file"), "{}:{}: {told}", block.page, block.line);
        }
    }
}

#[test]
fn the_unit_starts_what_there_is() {
    for block in pages().into_iter().flat_map(|page| page.blocks).filter(|block| block.info.starts_with("ini ")) {
        let value = |key: &str| block.body.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap();
        let words: Vec<_> = value("ExecStart").split(' ').collect();
        assert!(words[0].ends_with("/bessai-edge"), "{}", block.page);
        assert_eq!(fault(&words[1..]), None, "{}", block.page);
        // A wrong configuration stays wrong however often it is tried.
        let wrong = Setup::new().output(&["run"]).status.code().unwrap();
        assert_eq!(value("RestartPreventExitStatus"), wrong.to_string(), "{}", block.page);
        assert_eq!(value("WorkingDirectory"), value("ReadWritePaths"), "{}", block.page);
        let unit = tempfile::Builder::new().suffix(".service").tempfile().unwrap();
        std::fs::write(unit.path(), &block.body).unwrap();
        if let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(unit.path()).output() {
            let told = String::from_utf8_lossy(&verified.stderr).into_owned();
            // The program is not installed here.
            let faults: Vec<_> = told.lines().filter(|line| !line.contains("not executable")).collect();
            assert!(faults.is_empty(), "{}: {faults:?}", block.page);
        }
    }
}
