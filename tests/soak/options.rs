//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use bessai_domain::time::parse_duration;

/// The text of a usage error.
const USAGE: &str = "usage: soak DURATION [--markdown] [--samples=FILE] [PROGRAM]
  DURATION        how long, such as 10m or 8h; at least 1m
  --markdown      the table as Markdown on standard output, and as text on standard error
  --samples=FILE  every sample as a line of comma-separated values
  PROGRAM         the gateway to test (default dist/bessai-edge)";
/// The option for the file of samples.
const SAMPLES: &str = "--samples=";
/// The shortest run: less would hold too few samples.
const SHORTEST: Duration = Duration::from_secs(60);
/// The gateway to test, if no argument names one.
const DEFAULT_PROGRAM: &str = "dist/bessai-edge";

pub struct Options {
    pub duration: Duration,
    pub as_markdown: bool,
    pub samples: Option<PathBuf>,
    pub program: PathBuf,
}

impl Options {
    pub fn read(arguments: &[String]) -> Result<Self, String> {
        let (mut duration, mut as_markdown, mut samples, mut program) = (None, false, None, None);
        for argument in arguments {
            match argument.as_str() {
                "--markdown" => as_markdown = true,
                flag if let Some(file) = flag.strip_prefix(SAMPLES) => samples = Some(file.into()),
                flag if flag.starts_with('-') => return Err(format!("unknown option {flag}\n{USAGE}")),
                text if duration.is_none() => {
                    let read = parse_duration(text).filter(|duration| *duration >= SHORTEST);
                    duration = Some(read.ok_or_else(|| format!("{text} is no duration of at least 1m\n{USAGE}"))?);
                }
                path => program = Some(path),
            }
        }
        let program = PathBuf::from(program.unwrap_or(DEFAULT_PROGRAM));
        let program = program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Self { duration: duration.ok_or(USAGE)?, as_markdown, samples, program })
    }
}
