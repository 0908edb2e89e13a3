//! The commands beside `serve`: results on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use journal::Lsn;

use edge::clock;

use crate::cli::{
    ClockCommand, CodeKeyCommand, CreateKeyArgs, DATA_FOLDER, InspectArgs, KeyCommand, RevokeKeyArgs, RotateKeyArgs, RushArgs, VerifyArgs,
};
use crate::clock::ClockAsk;
use crate::key::KeyCommandError;
use crate::keys::KeyJson;
use crate::output::{finish, finished, say, try_say, write};
use crate::scaled::ScaledSettings;
use crate::{inspect, key, rush, verify};

/// Prints an error to stderr.
pub fn complain(error: &dyn std::error::Error) {
    say(&format!("firstcome: {error}"));
}

/// `firstcome rush coupon`.
#[must_use]
pub fn rush(args: &RushArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let report = match runtime.block_on(rush::run(args, stderr().is_terminal())) {
        Ok(report) => report,
        // 128 + n, the exit code that shells use for a process ended by signal n.
        Err(error @ rush::RushError::Interrupted(number)) => {
            complain(&error);
            return ExitCode::from(128 + number);
        }
        Err(error) => return failed(&error),
    };
    let printed = write(&if args.json { report.to_json().to_string() } else { report.table() });
    if let Some(path) = &args.report {
        if let Err(error) = std::fs::write(path, report.html()) {
            say(&format!("firstcome: cannot write {}: {error}", path.display()));
            return ExitCode::from(3);
        }
        say(&format!("report written to {}", path.display()));
    }
    finished(printed, promised(report.broken().is_empty()))
}

/// 1 if a promise is broken.
fn promised(is_kept: bool) -> ExitCode {
    if is_kept { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// `firstcome verify`.
#[must_use]
pub fn verify(args: &VerifyArgs) -> ExitCode {
    let settings = args.as_served().and_then(|served| Ok((ScaledSettings::of(&served)?, served.data)));
    let (scaled, data) = match settings {
        Ok((scaled, data)) => (scaled, data.unwrap_or_else(|| PathBuf::from(DATA_FOLDER))),
        Err(error) => return misused(&error),
    };
    match scaled {
        #[cfg(feature = "scaled")]
        Some(scaled) => verify_scaled(args, &scaled, &data),
        None => verify_journal(args, &data),
    }
}

fn verify_journal(args: &VerifyArgs, data: &Path) -> ExitCode {
    let started = clock::elapsed();
    let mut verdict = match verify::run(data) {
        Ok(verdict) => verdict,
        Err(error) => return failed(&error),
    };
    verdict.seconds = Some(clock::elapsed().saturating_sub(started).as_secs_f64());
    let result = if args.json { verdict.to_json().to_string() } else { verdict.to_text() };
    finish(&result, promised(verdict.is_good()))
}

#[cfg(feature = "scaled")]
fn verify_scaled(args: &VerifyArgs, settings: &ScaledSettings, data: &Path) -> ExitCode {
    let started = clock::elapsed();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ScaledSettings { kafka, redis, postgres } = settings.clone();
    let mut verdict = match verify::scaled::run(&verify::scaled::Sources { kafka, redis, postgres }, &runtime) {
        Ok(verdict) => verdict,
        Err(error) => return failed(&error),
    };
    if data.join(verify::JOURNAL_FOLDER).is_dir() {
        verdict.notes.push(format!("Kafka's record is verified (--kafka); the journal in {} is not", data.display()));
    }
    verdict.seconds = Some(clock::elapsed().saturating_sub(started).as_secs_f64());
    let result = if args.json { verdict.to_json().to_string() } else { verdict.to_text() };
    finish(&result, promised(verdict.is_good()))
}

/// `firstcome inspect`.
#[must_use]
pub fn inspect(args: &InspectArgs) -> ExitCode {
    let range = inspect::RecordRange { from: Lsn(args.from), limit: args.limit };
    let form = if args.json { inspect::Form::JsonLines } else { inspect::Form::Text };
    let options = inspect::Options { records: args.records.then_some(range), form };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let data = match args.at.folder() {
        Ok(data) => data,
        Err(error) => return misused(&error),
    };
    match inspect::run(&data, &options, &mut out) {
        Ok(()) => finished(out.flush(), ExitCode::SUCCESS),
        Err(inspect::InspectError::Write(error)) => {
            // What is still buffered cannot be written either.
            let _ = out.into_parts();
            finished(Err(error), ExitCode::SUCCESS)
        }
        Err(error) => failed(&error),
    }
}

/// `firstcome key …`.
#[must_use]
pub fn key(command: &KeyCommand) -> ExitCode {
    let (KeyCommand::Create(CreateKeyArgs { shown, .. })
    | KeyCommand::List(shown)
    | KeyCommand::Rotate(RotateKeyArgs { shown, .. })
    | KeyCommand::Revoke(RevokeKeyArgs { shown, .. })) = command;
    let data = match shown.at.folder() {
        Ok(data) => data,
        Err(error) => return misused(&error),
    };
    let is_json = shown.json;
    let keys = match key::run(command, &data) {
        Ok(keys) => keys,
        Err(error) => return undone(&error),
    };
    match (command, keys.first()) {
        (KeyCommand::Create(_) | KeyCommand::Rotate(_) | KeyCommand::Revoke(_), Some(key)) => tell_changed(key, &data, is_json),
        (KeyCommand::List(_), _) | (_, None) => finish(&key_list(&keys, is_json), ExitCode::SUCCESS),
    }
}

/// `firstcome code-key …`.
#[must_use]
pub fn code_key(command: &CodeKeyCommand) -> ExitCode {
    let (CodeKeyCommand::Show(shown) | CodeKeyCommand::Rotate(shown)) = command;
    let data = match shown.at.folder() {
        Ok(data) => data,
        Err(error) => return misused(&error),
    };
    match key::run_code_key(command, &data) {
        Ok(number) if shown.json => finish(&one_line(&serde_json::json!({ "number": number })), ExitCode::SUCCESS),
        Ok(number) => finish(&number.to_string(), ExitCode::SUCCESS),
        Err(error) => undone(&error),
    }
}

/// `firstcome clock …`.
#[must_use]
pub fn clock(command: &ClockCommand) -> ExitCode {
    let (ask, shown) = match command {
        ClockCommand::Show(shown) => (ClockAsk::Show, shown),
        ClockCommand::Confirm(shown) => (ClockAsk::Confirm, shown),
        ClockCommand::SetBack(shown) => (ClockAsk::SetBack, shown),
    };
    let data = match shown.at.folder() {
        Ok(data) => data,
        Err(error) => return misused(&error),
    };
    match key::run_clock(ask, &data) {
        Ok(clock) if shown.json => finish(&one_line(&clock), ExitCode::SUCCESS),
        Ok(clock) => finish(clock.text().trim_end(), ExitCode::SUCCESS),
        Err(error) => undone(&error),
    }
}

fn undone(error: &KeyCommandError) -> ExitCode {
    if matches!(error, KeyCommandError::Misuse(_)) { misused(error) } else { failed(error) }
}

/// The secret goes to stdout, where a script can read it; messages for people go to stderr.
fn tell_changed(key: &KeyJson, data: &Path, is_json: bool) -> ExitCode {
    let line = if is_json { Some(one_line(key)) } else { key.secret.clone() };
    match (&key.secret, line) {
        (Some(_), Some(line)) => {
            if !is_json {
                say(&format!("The key {} is in {}; it is shown this once:", key.key, data.display()));
            }
            tell_secret(&key.key, &line)
        }
        (None, Some(line)) => finish(&line, ExitCode::SUCCESS),
        (_, None) => {
            say(&format!("The key {} is revoked.", key.key));
            ExitCode::SUCCESS
        }
    }
}

/// The key is made, and nobody else knows its secret: if stdout does not take it, stderr must. A closed pipe
/// is an error here: its reader has not read the secret.
fn tell_secret(key: &str, line: &str) -> ExitCode {
    let Err(error) = write(line) else { return ExitCode::SUCCESS };
    let instead = format!(
        "firstcome: the secret of the key {key} could not be written to the standard output: {error}. The key is in use; here it is \
         instead, and firstcome key rotate {key} gives it another one:\n{line}"
    );
    // If that is lost too, the exit code tells so, and the key can still be rotated.
    let _ = try_say(&instead);
    ExitCode::from(3)
}

fn key_list(keys: &[KeyJson], is_json: bool) -> String {
    if is_json {
        return one_line(&serde_json::json!({ "keys": keys }));
    }
    if keys.is_empty() {
        return "no keys; make one with: firstcome key create admin --scopes admin".to_owned();
    }
    let line = |cells: [&str; 5]| format!("\n{:<24} {:<26} {:<20} {:<25} {}", cells[0], cells[1], cells[2], cells[3], cells[4]);
    let head = line(["key", "scopes", "campaigns", "made", "state"]);
    let lines = keys.iter().map(|key| {
        let campaigns = if key.campaigns.is_empty() { "all".to_owned() } else { format!("{}…", key.campaigns) };
        let state = match (&key.revoked_at, &key.overlap_until) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(until)) => format!("in use, the old secret until {until}"),
            (None, None) => "in use".to_owned(),
        };
        line([&key.key, &key.scopes.join(","), &campaigns, &key.created_at, &state])
    });
    (head + &lines.collect::<String>()).trim_start().to_owned()
}

fn one_line<T: serde::Serialize>(value: &T) -> String {
    // Serializing fails only for maps whose keys are not strings; these types have none.
    serde_json::to_string(value).unwrap_or_default()
}

fn misused(error: &dyn std::error::Error) -> ExitCode {
    complain(error);
    ExitCode::from(2)
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    complain(error);
    ExitCode::from(3)
}
