//! From where a restarted node reads on.

use cluster::protocol::record::{Body, LogId, RULES_KNOWN, RulesVersion};
use cluster::protocol::replica::{Delivered, Progress, Replica, Topology, Unwatched};
use cluster::snapshots::{Resumed, Snapshots};
use domain::hash::HashSeed;
use journal::Lsn;
use journal::memory::MemoryStorage;
use journal::snapshot;

use super::support::{LIMITS, LOG, World, at, cancel, claim, commanded, keyed, of_partition, put, put_override, put_policy, settings};

const SEED: HashSeed = HashSeed(5, 6);
/// The first section of the snapshot in the test of its bytes.
const FIRST_SECTION: &str = include_str!("../../fixtures/snapshot-progress-1.hex");

fn replica() -> Replica {
    Replica::new(Topology { partition: 0, partitions: 1 }, RULES_KNOWN, HashSeed(1, 2))
}

fn apply_all(replica: &mut Replica, world: &World) {
    let from = usize::try_from(replica.offset_next()).unwrap();
    for (offset, (millis, bytes)) in (0..).zip(&world.records.list()).skip(from) {
        replica.apply(&Delivered { offset, at: at(*millis), bytes }, &mut Unwatched).unwrap();
    }
}

fn add(world: &World, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let who = format!("user-{number}");
        world.records.add(commanded("spring", keyed(claim("spring", &who), &format!("key-{number}"))));
        world.records.add(commanded("spring", put_override("spring:api", &who, 1 + number)));
        if number.is_multiple_of(3) {
            world.records.add(commanded("spring", cancel("spring", &who)));
        }
    }
}

fn world() -> World {
    let world = World::new();
    world.records.add(commanded("spring", put("spring", settings(1_000))));
    world.records.add(commanded("spring", put_policy("spring:api", 100)));
    add(&world, 0..50);
    world
}

fn on(storage: &MemoryStorage) -> Snapshots<MemoryStorage> {
    Snapshots::new(LOG, vec![storage.clone()])
}

fn resume(snapshots: &Snapshots<MemoryStorage>) -> Resumed {
    snapshots.resume(0, RULES_KNOWN, SEED).unwrap()
}

fn sections(replica: &Replica) -> Vec<Vec<u8>> {
    replica.core().state().freeze().sections().collect()
}

#[test]
fn a_replica_from_a_snapshot_has_the_same_state_and_reads_on_to_the_same_state() {
    let (world, storage) = (world(), MemoryStorage::new());
    let mut live = replica();
    apply_all(&mut live, &world);
    on(&storage).write(0, &live.freeze()).unwrap();
    // What is written last is in the snapshot, and nothing that comes later.
    add(&world, 50..80);
    let Resumed { replica: mut resumed, refused } = resume(&on(&storage));
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!((resumed.progress(), sections(&resumed)), (live.progress(), sections(&live)));
    apply_all(&mut resumed, &world);
    apply_all(&mut live, &world);
    assert_eq!((resumed.progress(), sections(&resumed)), (live.progress(), sections(&live)));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_reads_on_from_its_data_folder() {
    let (world, folder) = (world(), tempfile::tempdir().unwrap());
    let node = world.node(1);
    world.deliver(&node).unwrap();
    let snapshots = Snapshots::open(folder.path(), node.log_id(), node.partitions_count()).unwrap();
    snapshots.write(0, &node.freeze(0)).unwrap();
    drop(snapshots);
    add(&world, 50..60);
    let found = Snapshots::open(folder.path(), LOG, 1).unwrap().resume(0, RULES_KNOWN, SEED).unwrap();
    assert_eq!(found.replica.offset_next(), node.progress()[0].offset_next);
    let restarted = world.node_with(2, LIMITS, found.replica);
    world.deliver(&restarted).unwrap();
    world.deliver(&node).unwrap();
    assert_eq!(restarted.progress(), node.progress());
    // Another log has folders of its own.
    let other = Snapshots::open(folder.path(), LogId([8; 16]), 1).unwrap().resume(0, RULES_KNOWN, SEED).unwrap();
    assert_eq!(other.replica.offset_next(), 0);
}

#[test]
fn the_newest_snapshot_that_can_be_used_is_used_and_two_are_kept() {
    let (world, storage) = (world(), MemoryStorage::new());
    let mut live = replica();
    let mut offsets = Vec::new();
    for last in 1..4 {
        add(&world, 50 * last..50 * last + 50);
        apply_all(&mut live, &world);
        on(&storage).write(0, &live.freeze()).unwrap();
        offsets.push(Lsn(live.offset_next()));
    }
    offsets.reverse();
    assert_eq!(snapshot::list(&storage).unwrap(), offsets[..2]);
    let name = format!("{:020}.snapshot", offsets[0].0);
    storage.corrupt(&name, 300, |bytes| bytes[0] ^= 1);
    let found = resume(&on(&storage));
    assert_eq!((found.replica.offset_next(), found.refused.len()), (offsets[1].0, 1));
    let mut resumed = found.replica;
    apply_all(&mut resumed, &world);
    assert_eq!(resumed.progress(), live.progress());
}

/// The digest that the state is held against was carried along from record to record.
#[test]
fn what_is_of_another_log_partition_place_or_state_is_not_used() {
    let (world, storage) = (world(), MemoryStorage::new());
    let mut live = replica();
    apply_all(&mut live, &world);
    on(&storage).write(0, &live.freeze()).unwrap();
    let why = |snapshots: &Snapshots<MemoryStorage>, rules| {
        let found = snapshots.resume(0, rules, SEED).unwrap();
        assert_eq!(found.replica.offset_next(), 0, "it begins at the beginning");
        found.refused.first().unwrap().1.clone()
    };
    assert!(why(&Snapshots::new(LogId([8; 16]), vec![storage.clone()]), RULES_KNOWN).contains("of log 0707"));
    assert!(why(&Snapshots::new(LOG, vec![storage.clone(), MemoryStorage::new()]), RULES_KNOWN).contains("another partition"));
    assert!(why(&on(&storage), RulesVersion(0)).contains("this program knows rules up to 0"));
    let progress = live.progress();
    for (other, text) in [
        (Progress { digest: [0; 16], ..progress }, "is "),
        (Progress { decisions: 7, ..progress }, "is "),
        (Progress { effective_at: at(1), ..progress }, "another time"),
    ] {
        let storage = MemoryStorage::new();
        on(&storage).write(0, &(other, live.freeze().1)).unwrap();
        assert!(why(&on(&storage), RULES_KNOWN).contains(text));
    }
    assert_eq!(resume(&on(&MemoryStorage::new())).replica.offset_next(), 0);
}

/// Format 1 of the first section is read for ever and written the same (J2). The others are those of
/// the state, which `domain` has fixtures of.
#[test]
fn the_first_section_is_written_as_the_fixture_has_it() {
    let (world, storage) = (World::new(), MemoryStorage::new());
    world.records.add(of_partition(0, Body::Barrier));
    let mut live = replica();
    apply_all(&mut live, &world);
    on(&storage).write(0, &live.freeze()).unwrap();
    let mut written = Vec::new();
    snapshot::read(&storage, Lsn(2), |section| {
        written.push(section.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        Ok(())
    })
    .unwrap();
    let fixture: Vec<&str> = FIRST_SECTION.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!([&*written[0]], *fixture);
    assert_eq!(resume(&on(&storage)).replica.progress(), live.progress());
}
