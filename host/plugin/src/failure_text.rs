//! Why a guest trapped, in one line: what its language wrote about it, and where in its source it happened.
//!
//! A language runtime reports an uncaught error on standard error and then executes `unreachable`. The trap alone says nothing,
//! so the lines of the failed call are part of the reason.

use std::collections::VecDeque;

use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use crate::log::one_line;

/// First lines of a call's error output that are kept: JavaScript's error comes before its stack.
const FIRST_LINES: usize = 4;
/// Last lines that are kept: Python's error comes after its traceback.
const LAST_LINES: usize = 6;
/// Characters of a kept line.
const LINE_CHARACTERS: usize = 300;
/// Functions of the guest that a reason names.
const FRAMES: usize = 3;
/// Beginnings of lines that say nothing about the plugin: what language runtimes add to every error.
const RUNTIME_LINES: [&str; 7] = [
    "Traceback (most recent call last)",
    "note: run with `RUST_BACKTRACE",
    "Python function threw an unexpected exception",
    "thread '<unnamed>' (1) panicked at runtime/src/",
    "Redirecting call to abort() to mozalloc_abort",
    "export_",
    "Stack:",
];
/// Parts of paths that belong to the language and not to the plugin: Rust's standard library and the crates of its registry.
const FOREIGN_PATHS: [&str; 4] = ["/rustc/", "/library/", "/registry/src/", "wit-bindgen"];
/// Beginnings of functions that belong to the language: what a panic or an abort passes through.
const FOREIGN_FUNCTIONS: [&str; 9] =
    ["std::", "core::", "alloc::", "<alloc::", "<core::", "<std::", "__", "rust_", "abort"];

/// The error output of the current call: its first and last lines.
#[derive(Default)]
pub(crate) struct ErrorOutput {
    first: Vec<String>,
    last: VecDeque<String>,
}

impl ErrorOutput {
    pub(crate) fn push(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() || RUNTIME_LINES.iter().any(|start| line.starts_with(start)) {
            return;
        }
        let line: String = one_line(line).chars().take(LINE_CHARACTERS).collect();
        // The runtime's own report of an error that the plugin has already described.
        if self.first.first().is_some_and(|first| line.contains(first.as_str())) {
            return;
        }
        if self.first.len() < FIRST_LINES {
            self.first.push(line);
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn text(&self) -> String {
        let lines: Vec<_> = self.first.iter().chain(&self.last).map(String::as_str).collect();
        lines.join("; ")
    }
}

/// The reason of a trap.
pub(crate) fn describe(error: &wasmtime::Error, output: &ErrorOutput) -> String {
    let cause = error.root_cause().to_string();
    let cause = cause.lines().next().unwrap_or_default();
    let output = output.text();
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let place = backtrace.map(|backtrace| place(backtrace, output.is_empty())).unwrap_or_default();
    let reason = match error.downcast_ref::<Trap>() {
        // How every language ends a program: the output says why.
        Some(Trap::UnreachableCodeReached) if !output.is_empty() => output,
        _ if output.is_empty() => cause.to_owned(),
        _ => format!("{output}; {cause}"),
    };
    one_line(&format!("{reason}{place}"))
}

/// `, in f (src/lib.rs:62:38), in g (src/lib.rs:20:5)`: the innermost functions of the plugin's own source, or nothing.
/// Without lines, the names are those of a language runtime as a rule: they help only if there is nothing else.
fn place(backtrace: &WasmBacktrace, names_alone: bool) -> String {
    let mut frames: Vec<_> = backtrace.frames().iter().flat_map(source_lines).take(FRAMES).collect();
    if frames.is_empty() && names_alone {
        frames = backtrace.frames().iter().filter_map(own_function).take(FRAMES).collect();
    }
    frames.iter().map(|frame| format!(", in {frame}")).collect()
}

/// The frame's functions with file and line; more than one if the compiler inlined some.
fn source_lines(frame: &FrameInfo) -> Vec<String> {
    let symbols = frame.symbols().iter().filter_map(|symbol| {
        let file = symbol.file().filter(|file| !FOREIGN_PATHS.iter().any(|foreign| file.contains(foreign)))?;
        let line = symbol.line()?;
        let column = symbol.column().map(|column| format!(":{column}")).unwrap_or_default();
        let function = symbol.name().or(frame.func_name()).map(short_name).unwrap_or_default();
        Some(format!("{function} ({file}:{line}{column})"))
    });
    symbols.collect()
}

fn own_function(frame: &FrameInfo) -> Option<String> {
    let name = short_name(frame.func_name()?);
    (!FOREIGN_FUNCTIONS.iter().any(|start| name.starts_with(start))).then_some(name)
}

/// A function's name as its author wrote it: in Rust without what the compiler encodes in it.
fn short_name(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[&str]) -> String {
        let mut output = ErrorOutput::default();
        lines.iter().for_each(|line| output.push(line));
        output.text()
    }

    #[test]
    fn what_a_runtime_adds_is_left_out_and_the_rest_is_bounded() {
        let python = [
            "Traceback (most recent call last):",
            "  File \"/0/plugin.py\", line 13, in deeper",
            "ValueError: boom",
            "thread '<unnamed>' (1) panicked at runtime/src/lib.rs:1293:29:",
            "Python function threw an unexpected exception",
        ];
        assert_eq!(text(&python), "File \"/0/plugin.py\", line 13, in deeper; ValueError: boom");
        let many: Vec<_> = (0..100).map(|line| format!("line {line}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let kept = "line 0; line 1; line 2; line 3; line 94; line 95; line 96; line 97; line 98; line 99";
        assert_eq!(text(&many), kept);
        assert_eq!(text(&[&"x".repeat(5000)]).len(), LINE_CHARACTERS);
        assert_eq!(text(&["a\u{1b}[2J"]), "a [2J");
    }

    #[test]
    fn an_error_is_not_repeated() {
        let javascript =
            ["Error: boom", "deeper@plugin.js:10:22", "invalid variant (received `Error: boom`) for `Failure`"];
        assert_eq!(text(&javascript), "Error: boom; deeper@plugin.js:10:22");
    }

    #[test]
    fn names_are_shown_as_their_authors_wrote_them() {
        assert_eq!(short_name("_ZN13guest_hostile4trap17h6ccef024bcca2bedE"), "guest_hostile::trap");
        assert_eq!(short_name("_RNvNtCshXfaRvt2tfW_3std7process5abort"), "std::process::abort");
        assert_eq!(short_name("exports_bessai_edge_transform_process"), "exports_bessai_edge_transform_process");
    }
}
