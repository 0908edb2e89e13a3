//! The gate's Lua script on a real Redis, single and cluster, held against its semantics in
//! `protocol/gate.rs`: the same calls give the same answers.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::sync::LazyLock;

use cluster::protocol::gate::{Correct, Corrected, Enter, Entered, Gate, GateKey, GateServer, GateVerdict, GateVersion, Mark, Settled};
use cluster::protocol::record::{LogId, NodeId};
use cluster::redis::{OpenError, RedisGate};
use domain::Kind;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use services::{Redis, RedisCluster, RedisClusterOptions, RedisOptions};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

#[test]
fn a_single_server_answers_as_the_model_does() {
    let redis = Redis::start().unwrap();
    agrees(&redis.url(), 0..300);
}

#[test]
fn a_cluster_answers_as_the_model_does_also_when_asked_by_way_of_a_replica() {
    let redis = RedisCluster::start_with(&RedisClusterOptions::default()).unwrap();
    let urls = redis.urls();
    agrees(urls.first().unwrap(), 300..360);
    agrees(urls.last().unwrap(), 360..420);
}

#[test]
fn what_a_node_had_in_flight_is_free_again_once_it_was_not_heard_of_for_long() {
    let redis = Redis::start().unwrap();
    let gate = open(&redis.url(), "expiry");
    let (dead, live) = (NodeId(1), NodeId(2));
    RUNTIME.block_on(async {
        gate.correct(&correct("c", dead, GateVersion::default(), 5, 3, 0)).await.unwrap();
        assert_eq!(passed(&gate.enter(&enter("c", dead, GateVersion::default(), &[1, 2, 3])).await.unwrap()), 3);
        gate.correct(&correct("c", live, GateVersion::default(), 6, 3, 0)).await.unwrap();
        assert_eq!(passed(&gate.enter(&enter("c", live, GateVersion::default(), &[4])).await.unwrap()), 0);
        tokio::time::sleep(std::time::Duration::from_millis(5_200)).await;
        gate.correct(&correct("c", live, GateVersion::default(), 7, 3, 0)).await.unwrap();
        assert_eq!(passed(&gate.enter(&enter("c", live, GateVersion::default(), &[4])).await.unwrap()), 1);
    });
}

#[test]
fn a_wrong_address_password_or_user_is_said_and_no_password_is_shown() {
    let redis = Redis::start_with(RedisOptions { password: Some("right".to_owned()), ..RedisOptions::default() }).unwrap();
    let open = |url: &str| RUNTIME.block_on(RedisGate::open(url, "firstcome")).unwrap_err();
    assert!(matches!(open("nonsense"), OpenError::Url(_)));
    assert!(matches!(open("redis://127.0.0.1:1"), OpenError::Unreachable { .. }));
    let wrong = format!("redis://default:very-secret@127.0.0.1:{}", redis.port());
    let refused = open(&wrong);
    assert!(matches!(refused, OpenError::Credentials { .. }), "{refused}");
    assert!(!refused.to_string().contains("very-secret"));
    let refused = open(&redis.url_without_scripts());
    assert!(matches!(refused, OpenError::Script { .. }), "{refused}");
    assert!(refused.to_string().contains("--redis"));
}

fn open(url: &str, topic: &str) -> RedisGate {
    RUNTIME.block_on(RedisGate::open(url, topic)).unwrap()
}

/// Random calls by three nodes to one gate; each sequence has a campaign of its own.
fn agrees(url: &str, seeds: Range<u64>) {
    let gate = open(url, "agree");
    for seed in seeds {
        RUNTIME.block_on(agree_once(&gate, seed));
    }
}

async fn agree_once(gate: &RedisGate, seed: u64) {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let campaign = format!("campaign-{seed}");
    let mut model: Option<Gate> = None;
    // The fill's number comes from a clock: versions are told by where they came from.
    let (mut of_script, mut of_model) = (vec![GateVersion::default()], vec![GateVersion::default()]);
    for step in 0..40 {
        let node = NodeId(rng.next_u64() % 3);
        let known = usize::try_from(rng.next_u64()).unwrap() % of_script.len();
        let pick = |versions: &[GateVersion]| if rng_flag(seed, step) { versions[known] } else { *versions.last().unwrap() };
        let (script_known, model_known) = (pick(&of_script), pick(&of_model));
        let log = if rng.next_u64().is_multiple_of(25) { LogId([9; 16]) } else { LogId([7; 16]) };
        match rng.next_u64() % 10 {
            0..6 => {
                let marks: Vec<i32> = (0..1 + rng.next_u64() % 5).map(|_| i32::try_from(rng.next_u64() % 12).unwrap() - 6).collect();
                let mut asked = enter(&campaign, node, script_known, &marks);
                asked.key.log = log;
                let settled = rng.next_u64();
                asked.settled = Settled { taken: settled % 2, returned: (settled >> 8) % 2, offset: (settled >> 16) % 30 };
                if settled.is_multiple_of(7) {
                    asked.marks.push(None);
                }
                let answered = gate.enter(&asked).await.unwrap();
                let expected = Gate::enter(model.as_mut(), &Enter { known: model_known, ..asked.clone() }, 1);
                assert_eq!(verdicts(&answered), verdicts(&expected), "seed {seed}, step {step}: {asked:?}");
            }
            6..9 => {
                let (base, remaining, flight) = (1 + rng.next_u64() % 30, rng.next_u64() % 8, rng.next_u64() % 3);
                let mut asked = correct(&campaign, node, script_known, base, remaining, flight);
                asked.key.log = log;
                let answered = gate.correct(&asked).await.unwrap();
                let expected = Gate::correct(&mut model, &Correct { known: model_known, ..asked.clone() }, 1);
                assert_eq!(told(answered), told(expected), "seed {seed}, step {step}: {asked:?}");
                of_script.push(version(answered));
                of_model.push(version(expected));
            }
            _ => {
                let mark = Mark { set: 3, number: i32::try_from(rng.next_u64() % 12).unwrap() - 6 };
                gate.unmark(&key(&campaign), mark).await.unwrap();
                model.iter_mut().for_each(|model| model.unmark(mark));
            }
        }
    }
}

fn rng_flag(seed: u64, step: u64) -> bool {
    (seed * 31 + step * 17).is_multiple_of(3)
}

fn key(campaign: &str) -> GateKey {
    GateKey { log: LogId([7; 16]), partition: 1, kind: Kind::Campaign, name: campaign.to_owned() }
}

fn enter(campaign: &str, node: NodeId, known: GateVersion, marks: &[i32]) -> Enter {
    let marks = marks.iter().map(|number| Some(Mark { set: 3, number: *number })).collect();
    Enter { key: key(campaign), node, known, settled: Settled::default(), marks }
}

fn correct(campaign: &str, node: NodeId, known: GateVersion, base: u64, remaining: u64, flight: u64) -> Correct {
    Correct { key: key(campaign), node, known, base, remaining, flight, sets: 2 }
}

fn passed(entered: &Entered) -> usize {
    verdicts(entered).map_or(0, |(_, verdicts)| verdicts.iter().filter(|verdict| **verdict == GateVerdict::Passed).count())
}

fn verdicts(entered: &Entered) -> Option<(u64, Vec<GateVerdict>)> {
    match entered {
        Entered::Verdicts(version, verdicts) => Some((version.base, verdicts.clone())),
        Entered::Unfilled => None,
    }
}

fn told(corrected: Corrected) -> (&'static str, u64) {
    match corrected {
        Corrected::Taken(version) => ("taken", version.base),
        Corrected::Ignored(version) => ("ignored", version.base),
        Corrected::Filled(version) => ("filled", version.base),
    }
}

fn version(corrected: Corrected) -> GateVersion {
    match corrected {
        Corrected::Taken(version) | Corrected::Ignored(version) | Corrected::Filled(version) => version,
    }
}
