//! One connection's share of the load: takes due requests, sends them, and judges the responses.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode, Uri};
use http_body_util::Full;
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;

use super::answers::{Answers, Coupon};
use super::dispatcher::{Ask, Dispatcher};
use super::subjects::{Subjects, UserIndex};
use super::tally::Tally;
use crate::clock;
use crate::connection::{Connection, Failure, Response};
use crate::figures::Sample;
use crate::target::{Outgoing, Target};

/// How often a person retries after the server was busy.
const TRIES_MAX: u32 = 20;
/// How often a request with an unknown outcome is sent again.
const LOST_MAX: u32 = 1;
/// Bounds, in milliseconds, of the delay before a pending answer is read again; the server suggests the delay.
const LOOK_MS_MIN: u64 = 50;
const LOOK_MS_MAX: u64 = 60_000;
const DIALS_MAX: u32 = 10;
const DIAL_PAUSE: Duration = Duration::from_millis(100);

/// One server, with the dispatcher of its requests.
pub(crate) struct Endpoint {
    pub(crate) target: Arc<Target>,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) dispatcher: Dispatcher,
}

/// State shared by all workers.
pub(crate) struct Crowd {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) campaign: String,
    pub(crate) timeout: Duration,
    pub(crate) start: Instant,
    pub(crate) subjects: Subjects,
    pub(crate) answers: Mutex<Answers>,
    /// Whether claims are queued first.
    pub(crate) is_queued: bool,
    /// Whether each person has a coupon. Kept beside `answers`, so that a refusal needs no lock.
    pub(crate) served: Box<[AtomicBool]>,
    /// The URL of each queued person's answer.
    pub(crate) places: Mutex<Vec<Option<Uri>>>,
}

impl Crowd {
    pub(crate) fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock()
    }

    /// Stores the URL of a person's answer; returns whether it is the person's first one.
    fn place(&self, user: UserIndex, place: Uri) -> bool {
        self.places()[user as usize].replace(place).is_none()
    }

    fn place_of(&self, user: UserIndex) -> Option<Uri> {
        self.places()[user as usize].clone()
    }

    fn places(&self) -> MutexGuard<'_, Vec<Option<Uri>>> {
        self.places.lock()
    }

    pub(crate) fn unsettled(&self) -> u64 {
        self.endpoints.iter().map(|endpoint| endpoint.dispatcher.unsettled() as u64).sum()
    }

    pub(crate) fn settled(&self) -> u64 {
        self.endpoints.iter().map(|endpoint| endpoint.dispatcher.settled() as u64).sum()
    }
}

pub(crate) struct Worker {
    pub(crate) crowd: Arc<Crowd>,
    /// The worker's server, by its index.
    pub(crate) server: u16,
    pub(crate) connection: Option<Connection>,
    pub(crate) tally: Tally,
}

#[derive(Deserialize)]
struct ClaimBody<'a> {
    #[serde(borrow)]
    campaign: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    serial: u64,
    code: Box<str>,
}

#[derive(Deserialize)]
struct PendingBody<'a> {
    #[serde(borrow)]
    answer: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    wait_ms: u64,
}

#[derive(Deserialize)]
struct ProblemBody<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    retry_after_ms: Option<u64>,
}

impl Worker {
    /// Works until every request is settled, or the server can no longer be reached.
    pub(crate) async fn run(mut self) -> Tally {
        while let Some(ask) = self.endpoint().dispatcher.take().await {
            let Some(connection) = self.connect().await else {
                self.fail(ask, || "cannot connect".to_owned());
                break;
            };
            let Some(request) = self.request(ask) else {
                self.fail(ask, || "the place of the answer is not known".to_owned());
                continue;
            };
            let told_before = self.crowd.served[ask.user as usize].load(Ordering::Acquire);
            let sent = clock::now();
            match self.connection.insert(connection).exchange(request).await {
                Ok(answer) => self.judge(ask, sent, told_before, &answer),
                Err(failure) => self.lose(ask, failure),
            }
        }
        self.tally
    }

    fn endpoint(&self) -> &Endpoint {
        &self.crowd.endpoints[usize::from(self.server)]
    }

    /// The request for the claim, or for its answer.
    fn request(&self, ask: Ask) -> Option<Outgoing> {
        let endpoint = self.endpoint();
        if ask.is_accepted {
            let mut request = Outgoing::new(Full::default());
            *request.uri_mut() = self.crowd.place_of(ask.user)?;
            *request.headers_mut() = endpoint.target.headers.clone();
            return Some(request);
        }
        let mut request = Outgoing::new(Full::new(self.crowd.subjects.body(ask.user)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.uri.clone();
        *request.headers_mut() = endpoint.headers.clone();
        Some(request)
    }

    /// This worker reopens a closed connection itself: if the request went to another worker with a closed
    /// connection, it would use up its tries without being sent.
    async fn connect(&mut self) -> Option<Connection> {
        if let Some(mut open) = self.connection.take()
            && open.is_ready().await
        {
            return Some(open);
        }
        self.tally.reconnects += 1;
        for _ in 0..DIALS_MAX {
            let dialled = Connection::open(&self.endpoint().target, self.crowd.timeout).await;
            if let Ok(connection) = dialled {
                return Some(connection);
            }
            clock::sleep(DIAL_PAUSE).await;
        }
        None
    }

    fn lose(&mut self, ask: Ask, failure: Failure) {
        self.connection = None;
        match failure {
            Failure::Unsent(_) if ask.tries < TRIES_MAX => self.again(ask, Duration::ZERO),
            Failure::Unsent(detail) => self.fail(ask, || format!("not sent: {detail}")),
            Failure::Lost(detail) => self.doubt(ask, || format!("no answer: {detail}")),
        }
    }

    /// The request may have taken effect. The subject is the natural key of a claim, so a retry
    /// cannot take a second coupon.
    fn doubt(&mut self, ask: Ask, what: impl FnOnce() -> String) {
        self.tally.unknown_outcomes += 1;
        let lost = ask.lost + 1;
        let ask = Ask { lost, ..ask };
        match lost <= LOST_MAX {
            true => self.endpoint().dispatcher.put_back(ask, clock::now()),
            false => self.fail(ask, what),
        }
    }

    fn again(&mut self, ask: Ask, pause: Duration) {
        let tries = ask.tries + 1;
        let instant = clock::now() + pause;
        self.endpoint().dispatcher.put_back(Ask { tries, ..ask }, instant);
    }

    fn fail(&mut self, ask: Ask, what: impl FnOnce() -> String) {
        if 0 < ask.lost {
            self.tally.in_doubt.push(ask.user);
        }
        let at = self.crowd.start.elapsed();
        self.tally.error(at, what);
        self.endpoint().dispatcher.settle();
    }

    fn judge(&mut self, ask: Ask, sent: Instant, told_before: bool, answer: &Response) {
        match answer.status {
            StatusCode::ACCEPTED => self.judge_place(ask, sent, answer),
            StatusCode::CREATED | StatusCode::OK => self.judge_yes(ask, sent, answer),
            StatusCode::CONFLICT => self.judge_no(ask, sent, told_before, answer),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                self.come_back(ask, answer);
            }
            status if status.is_server_error() => self.doubt(ask, || describe(answer)),
            _ => self.fail(ask, || describe(answer)),
        }
    }

    fn judge_yes(&mut self, ask: Ask, sent: Instant, answer: &Response) {
        let Ok(claim) = serde_json::from_slice::<ClaimBody<'_>>(&answer.body) else {
            // A success, but its body does not tell which claim.
            self.tally.in_doubt.push(ask.user);
            return self.fail(ask, || describe(answer));
        };
        let is_first = self.note(ask.user, claim);
        // With a queue, several requests may read the decision, in any order: the first read counts as new.
        let fresh = if self.crowd.is_queued { is_first } else { answer.status == StatusCode::CREATED };
        if ask.is_accepted {
            let sample = self.sample(ask, sent, fresh);
            self.tally.decided.push(sample);
        }
        match fresh {
            true => self.tally.fresh += 1,
            false => self.tally.repeats += 1,
        }
        self.settle(ask, sent, fresh);
    }

    /// Stores a promised coupon; returns whether it is the person's first.
    fn note(&mut self, user: UserIndex, claim: ClaimBody<'_>) -> bool {
        let told_to = self.crowd.subjects.index_of(&claim.subject);
        let mut answers = self.crowd.answers();
        if told_to != Some(user) || claim.campaign != self.crowd.campaign {
            answers.misdirected += 1;
        }
        let coupon = Coupon { serial: claim.serial, code: claim.code };
        answers.note(user, coupon, self.server);
        !self.crowd.served[user as usize].swap(true, Ordering::AcqRel)
    }

    fn judge_no(&mut self, ask: Ask, sent: Instant, told_before: bool, answer: &Response) {
        if is_sold_out(&answer.body) {
            self.tally.sold_out += 1;
        } else {
            let Ok(problem) = serde_json::from_slice::<ProblemBody<'_>>(&answer.body) else {
                return self.fail(ask, || describe(answer));
            };
            self.tally.refuse(&problem.code);
        }
        if told_before || ask.is_accepted {
            self.crowd.answers().taken_back.insert(ask.user);
        }
        self.settle(ask, sent, false);
    }

    fn come_back(&mut self, ask: Ask, answer: &Response) {
        let Some(pause) = pause(answer) else {
            return self.doubt(ask, || describe(answer));
        };
        if TRIES_MAX <= ask.tries {
            return self.fail(ask, || format!("still after {TRIES_MAX} tries: {}", describe(answer)));
        }
        self.tally.asked_again += 1;
        self.again(ask, pause);
    }

    fn settle(&mut self, ask: Ask, sent: Instant, gave: bool) {
        let sample = self.sample(ask, sent, gave);
        self.tally.samples.push(sample);
        self.endpoint().dispatcher.settle();
    }

    fn sample(&self, ask: Ask, sent: Instant, gave: bool) -> Sample {
        let now = clock::now();
        Sample::new(now - self.crowd.start, now.saturating_duration_since(ask.due), now - sent, gave)
    }

    /// A place in the queue is not a coupon yet; the answer is read later.
    fn judge_place(&mut self, ask: Ask, sent: Instant, answer: &Response) {
        let Ok(pending) = serde_json::from_slice::<PendingBody<'_>>(&answer.body) else {
            self.tally.in_doubt.push(ask.user);
            return self.fail(ask, || describe(answer));
        };
        let told_to = self.crowd.subjects.index_of(&pending.subject);
        let place = self.endpoint().target.uri(&format!("/v1/answers/{}", pending.answer));
        let (Some(_), Ok(place)) = (told_to.filter(|user| *user == ask.user), place) else {
            self.crowd.answers().misdirected += 1;
            return self.fail(ask, || describe(answer));
        };
        if ask.is_accepted {
            self.tally.still_pending += 1;
        } else {
            let is_first = self.crowd.place(ask.user, place);
            let sample = self.sample(ask, sent, is_first);
            self.tally.accepted.push(sample);
        }
        let instant = clock::now() + Duration::from_millis(pending.wait_ms.clamp(LOOK_MS_MIN, LOOK_MS_MAX));
        self.endpoint().dispatcher.put_back(Ask { is_accepted: true, tries: 0, ..ask }, instant);
    }
}

/// Found without parsing, because nine of ten responses are this one. Quotes inside a JSON text are escaped,
/// so no other text can contain the mark.
fn is_sold_out(body: &[u8]) -> bool {
    const MARK: &[u8] = b"\"code\":\"sold_out\"";
    body.windows(MARK.len()).any(|window| window == MARK)
}

/// The body's milliseconds are preferred: the header only has whole seconds.
fn pause(answer: &Response) -> Option<Duration> {
    let problem = serde_json::from_slice::<ProblemBody<'_>>(&answer.body).ok();
    let precise = problem.and_then(|problem| problem.retry_after_ms);
    precise.map(Duration::from_millis).or(answer.retry_after)
}

fn describe(answer: &Response) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let start: String = text.chars().take(200).collect();
    format!("{}: {start}", answer.status)
}
