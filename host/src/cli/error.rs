//! Why a command ends without success, and the exit codes that scripts rely on.

use std::fmt::Display;
use std::process::ExitCode;

use bessai_domain::settings::Mistake;

use super::output::{OutputError, print_error};

/// Exit code: something failed while the command ran.
pub(super) const FAILED: u8 = 1;
/// Exit code: the command line is invalid (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;
/// Exit code: the configuration or another file of the user is invalid (EX_CONFIG of sysexits.h).
const CONFIGURATION: u8 = 78;

/// Every exit code with its meaning, for the manual pages.
pub(super) const EXIT_CODES: [(u8, &str); 4] = [
    (0, "Success."),
    (FAILED, "Failure: for example, a device does not answer, a test fails, or the journal is in use."),
    (USAGE, "The command line is invalid."),
    (CONFIGURATION, "The configuration, a settings file or a test case is invalid."),
];

/// Why a command ends without success.
#[derive(Debug)]
pub(super) enum CommandError {
    /// Nobody reads the output any more. The command ends quietly, as after its last line.
    OutputClosed,
    /// It failed for this reason.
    Failed(String),
    /// It failed, and what it printed already says why.
    FailureIsPrinted,
    /// The gateway failed for this reason. It is logged, as everything before it.
    Logged(String),
    /// The command line is invalid.
    Usage(String),
    /// A file of the user is invalid.
    Invalid {
        /// What the mistakes are in, such as "configuration".
        what: &'static str,
        /// All mistakes that were found.
        mistakes: Vec<Mistake>,
    },
}

impl CommandError {
    /// The command failed for this reason.
    pub(super) fn failed(reason: impl Display) -> Self {
        Self::Failed(reason.to_string())
    }

    /// The gateway failed for this reason, after its log was set up.
    pub(super) fn logged(reason: anyhow::Error) -> Self {
        Self::Logged(format!("{reason:#}"))
    }

    /// Mistakes in a file of the user.
    pub(super) fn invalid(what: &'static str) -> impl Fn(Vec<Mistake>) -> Self {
        move |mistakes| Self::Invalid { what, mistakes }
    }

    /// Prints or logs the reason and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::FailureIsPrinted => ExitCode::from(FAILED),
            Self::Failed(reason) => {
                print_error(reason);
                ExitCode::from(FAILED)
            }
            Self::Logged(reason) => {
                tracing::error!("{reason}; exiting with code {FAILED}");
                ExitCode::from(FAILED)
            }
            Self::Usage(reason) => {
                print_error(reason.trim_end());
                ExitCode::from(USAGE)
            }
            Self::Invalid { what, mistakes } => {
                let count = mistakes.len();
                print_error(format_args!("{count} {} in the {what}:", if count == 1 { "mistake" } else { "mistakes" }));
                mistakes.iter().for_each(|mistake| print_error(format_args!("  {mistake}")));
                ExitCode::from(CONFIGURATION)
            }
        }
    }
}

impl From<OutputError> for CommandError {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Closed => Self::OutputClosed,
            OutputError::Failed(_) => Self::failed(error),
        }
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<OutputError>() {
            Ok(error) => error.into(),
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}
