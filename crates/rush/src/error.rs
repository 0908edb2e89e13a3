//! Why a run could not be carried out or judged. The server's faults during a run are no error:
//! they are in the report.

use std::fmt;
use std::io;
use std::time::Duration;

#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting is invalid.
    Setting { name: &'static str, detail: &'static str },
    /// The base URL cannot be used.
    Url { url: String, detail: String },
    /// The server cannot be reached.
    Connect { server: String, source: io::Error },
    /// A call before or after the load broke off.
    Call { call: String, detail: String },
    /// A call before or after the load got an unusable response.
    Answer { call: String, status: u16, body: String },
    /// The server was busy for longer than the retry limit.
    Busy { call: String, waited: Duration },
    /// The campaign existed before, and has claims.
    CampaignInUse { campaign: String, claimed: u64 },
    /// A line of the list is not a claim.
    RecordLine { line: u64, detail: String },
    /// A part of the load panicked.
    Worker { detail: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Setting { name, detail } => write!(f, "{name}: {detail}"),
            Error::Url { url, detail } => write!(f, "cannot use the URL {url:?}: {detail}"),
            Error::Connect { server, source } => write!(f, "cannot connect to {server}: {source}"),
            Error::Call { call, detail } => write!(f, "{call} broke off: {detail}"),
            Error::Answer { call, status, body } => {
                write!(f, "{call} was answered {status}: {body}")
            }
            Error::Busy { call, waited } => write!(f, "{call}: the server still asks to come back later after {} s", waited.as_secs()),
            Error::CampaignInUse { campaign, claimed } => {
                write!(f, "campaign {campaign:?} was there before and {claimed} of it are claimed; take another name")
            }
            Error::RecordLine { line, detail } => {
                write!(f, "line {line} of the record is not a claim: {detail}")
            }
            Error::Worker { detail } => write!(f, "the load broke off: {detail}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let Error::Connect { source, .. } = self else {
            return None;
        };
        Some(source)
    }
}
