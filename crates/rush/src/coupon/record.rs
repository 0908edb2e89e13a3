//! Compares the server's list of claims with the responses, claim by claim, while it is read.

use std::borrow::Cow;
use std::collections::HashSet;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;

use super::answers::{Answers, Coupon};
use super::campaign::{self, Counts, claims_path};
use super::load::Load;
use super::report::{Campaign, Findings};
use super::subjects::{Subjects, UserIndex};
use super::{Error, Options};
use crate::clock;
use crate::control::{Call, SILENCE_MAX};
use crate::progress::Progress;
use crate::target::Target;

const NDJSON: &str = "application/x-ndjson";
/// A claim has a few hundred bytes.
const LINE_BYTES_MAX: usize = 1 << 16;

/// One line of the list. Fields that are not compared are skipped.
#[derive(Deserialize)]
struct Line<'a> {
    serial: u64,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    code: Cow<'a, str>,
    /// A server without this field does not support cancelling.
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    claimed_at: Option<Cow<'a, str>>,
}

impl Line<'_> {
    /// A cancelled claim has returned its unit to the stock; a redeemed one has not.
    fn is_live(&self) -> bool {
        self.status.as_deref() != Some("cancelled")
    }
}

/// The differences, and when each claim was decided according to the server, in milliseconds since 1970.
pub(crate) async fn compare(target: &Target, options: &Options, load: &Load) -> Result<(Findings, Vec<i64>), Error> {
    let before = campaign::counts(target, &options.campaign).await?;
    let mut comparison = Comparison::new(&load.subjects, &load.answers);
    let mut decided_ms = Vec::new();
    let progress = Progress::new(options.progress, "reading back", before.claimed);
    read(target, options, |line| {
        comparison.add(line);
        decided_ms.extend(line.claimed_at.as_deref().and_then(clock::millis_of));
        progress.set(comparison.live);
    })
    .await?;
    let after = campaign::counts(target, &options.campaign).await?;
    Ok((comparison.findings(options, load, [before, after]), decided_ms))
}

async fn read(target: &Target, options: &Options, mut each: impl FnMut(&Line<'_>)) -> Result<(), Error> {
    let call = Call { accept: NDJSON, ..Call::get(claims_path(&options.campaign)) };
    let response = call.open(target).await?;
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE);
    let is_lines = kind.is_some_and(|kind| kind.as_bytes().starts_with(NDJSON.as_bytes()));
    if status != StatusCode::OK || !is_lines {
        return Err(call.refused(status, b"one JSON object per line was asked for"));
    }
    let mut lines = Lines::default();
    let mut body = response.into_body();
    while let Some(piece) = next_piece(&call, &mut body).await? {
        lines.push(&piece, &mut each)?;
    }
    lines.finish(&mut each)
}

async fn next_piece(call: &Call, body: &mut Incoming) -> Result<Option<bytes::Bytes>, Error> {
    let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
    match frame.map_err(|elapsed| call.broke_off(elapsed))? {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(error)) => Err(call.broke_off(error)),
    }
}

/// Splits a stream into lines; buffers only the incomplete last one.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
    count: u64,
}

impl Lines {
    fn push(&mut self, piece: &[u8], each: &mut impl FnMut(&Line<'_>)) -> Result<(), Error> {
        let mut piece = piece;
        while let Some(end) = piece.iter().position(|&byte| byte == b'\n') {
            self.rest.extend_from_slice(&piece[..end]);
            self.finish(each)?;
            piece = &piece[end + 1..];
        }
        self.rest.extend_from_slice(piece);
        match self.rest.len() <= LINE_BYTES_MAX {
            true => Ok(()),
            false => Err(self.unreadable("it does not end")),
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(&Line<'_>)) -> Result<(), Error> {
        self.count += 1;
        if self.rest.trim_ascii().is_empty() {
            return Ok(());
        }
        match serde_json::from_slice(&self.rest) {
            Ok(line) => each(&line),
            Err(error) => return Err(self.unreadable(error)),
        }
        self.rest.clear();
        Ok(())
    }

    fn unreadable(&self, detail: impl ToString) -> Error {
        Error::RecordLine { line: self.count, detail: detail.to_string() }
    }
}

struct Comparison<'a> {
    subjects: &'a Subjects,
    /// Every promised coupon in order, and whether the list contains it.
    told: Vec<(UserIndex, &'a Coupon)>,
    found: Vec<bool>,
    /// Live claims in the list.
    live: u64,
    /// Live claims of each person.
    live_of: Vec<u8>,
    /// Live claims that no response promised; with their person, if it is one of the run's.
    untold: Vec<Option<UserIndex>>,
    serials: HashSet<u64>,
    /// Serials that occur in more than one line.
    twice: HashSet<u64>,
}

impl<'a> Comparison<'a> {
    fn new(subjects: &'a Subjects, answers: &'a Answers) -> Comparison<'a> {
        let mut told: Vec<_> = answers.all().collect();
        told.sort_by(|a, b| key(a.0, a.1.serial, &a.1.code).cmp(&key(b.0, b.1.serial, &b.1.code)));
        Comparison {
            subjects,
            found: vec![false; told.len()],
            told,
            live: 0,
            live_of: vec![0; subjects.count()],
            untold: Vec::new(),
            serials: HashSet::new(),
            twice: HashSet::new(),
        }
    }

    fn add(&mut self, line: &Line<'_>) {
        if !self.serials.insert(line.serial) {
            self.twice.insert(line.serial);
        }
        if !line.is_live() {
            return;
        }
        self.live += 1;
        let user = self.subjects.index_of(&line.subject);
        if let Some(user) = user {
            let live = &mut self.live_of[user as usize];
            *live = live.saturating_add(1);
        }
        if !user.is_some_and(|user| self.find(user, line)) {
            self.untold.push(user);
        }
    }

    /// Whether this exact claim was promised, and is found for the first time.
    fn find(&mut self, user: UserIndex, line: &Line<'_>) -> bool {
        let wanted = key(user, line.serial, &line.code);
        let place = self.told.binary_search_by(|(user, coupon)| key(*user, coupon.serial, &coupon.code).cmp(&wanted));
        place.is_ok_and(|place| !std::mem::replace(&mut self.found[place], true))
    }

    fn findings(self, options: &Options, load: &Load, counts: [Counts; 2]) -> Findings {
        let in_doubt: HashSet<UserIndex> = load.tally.in_doubt.iter().copied().collect();
        let excused = |user: &&Option<UserIndex>| user.is_some_and(|user| in_doubt.contains(&user));
        let settled_in_record = self.untold.iter().filter(excused).count() as u64;
        let stock = u64::from(options.stock);
        let shared: HashSet<_> = load.answers.shared.union(&self.twice).collect();
        Findings {
            over_issued: self.live.max(load.answers.distinct_serials()).saturating_sub(stock),
            two_for_one: self.with_several(&load.answers),
            one_for_two: shared.len() as u64,
            answers_not_in_record: self.found.iter().filter(|found| !**found).count() as u64,
            in_record_unanswered: self.untold.len() as u64 - settled_in_record,
            settled_in_record,
            yes_taken_back: load.answers.taken_back.len() as u64,
            misdirected: load.answers.misdirected,
            record_live: self.live,
            campaign: Campaign::from(counts[1]),
            counts_differ: self.counts_differ(stock, counts),
            elsewhere: None,
        }
    }

    fn with_several(&self, answers: &Answers) -> u64 {
        let mut several = answers.with_several();
        let in_record = (0u32..).zip(&self.live_of).filter(|(_, live)| 1 < **live);
        several.extend(in_record.map(|(user, _)| user));
        several.len() as u64
    }

    /// A request with an unknown outcome may still take effect while the list is read, so the list lies
    /// between the counts before and after.
    fn counts_differ(&self, stock: u64, [before, after]: [Counts; 2]) -> bool {
        let adds_up = |counts: Counts| counts.stock == stock && counts.claimed + counts.remaining + counts.pending == stock;
        let between = before.claimed <= self.live && self.live <= after.claimed;
        !between || !adds_up(before) || !adds_up(after)
    }
}

fn key(user: UserIndex, serial: u64, code: &str) -> (UserIndex, u64, &str) {
    (user, serial, code)
}
