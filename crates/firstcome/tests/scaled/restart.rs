//! Everything away and back again; and records that are not there any more.

use std::fs;
use std::time::Duration;

use cluster::kafka;
use cluster::protocol::partition::partition_of;
use tokio::task::block_in_place;

use super::world::{Brokers, World, eventually};
use super::{check, engines, scenario};
use crate::support_process::program::{Program, program};

const STOCK: u64 = 1_000;

#[test]
pub fn after_everything_was_away_servers_go_on_from_the_tables() {
    scenario::alone(async {
        let mut redis = engines::forgetful_redis();
        let mut world = World::new("all-away", &Brokers::One, Some(redis.url())).with_servers(2, STOCK).await;
        let before = world.crowd(600, 16, 0).finish(Duration::from_secs(60)).await;
        assert_eq!(before.claims.len(), 600);
        let listed = check::list(world.address(0), &world.name).await;
        assert_eq!(listed.len(), 600);
        world.stop(0);
        world.kill(1);
        block_in_place(|| {
            redis.restart().unwrap();
            engines::postgres().restart().unwrap();
            engines::one_broker().restart_all().unwrap();
        });
        world.start(0);
        world.start(1);
        for place in [0, 1] {
            world.until_ready(place).await;
            let begins_at = begins_at(&world, &world.program(place).said());
            assert!(600 < begins_at, "server {place} begins at {begins_at}, and not at a snapshot");
        }
        let book = world.crowd(3_000, 32, 0).finish(Duration::from_secs(60)).await;
        for (person, claim) in &before.claims {
            assert_eq!(book.claims.get(person), Some(claim), "{person} was told something else before");
        }
        check::exactly(&world, &book, STOCK).await;
    });
}

#[test]
pub fn a_log_that_has_lost_records_is_refused_and_left_as_it_is() {
    scenario::alone(async {
        let mut world = World::new("lost", &Brokers::One, None).with_servers(1, STOCK).await;
        world.stop(0);
        let old_tables = block_in_place(|| copy_of_tables(&world));
        world.start(0);
        world.until_ready(0).await;
        let book = world.crowd(2_000, 16, 0).finish(Duration::from_secs(60)).await;
        check::exactly(&world, &book, STOCK).await;
        world.stop(0);

        block_in_place(|| forget_records(&world));
        let said = refused(&world, &old_tables);
        assert!(said.contains("records in between are gone") && said.contains("--postgres"), "{said}");
        // Tables that are further on need nothing of what is gone.
        world.start(0);
        check::as_told(&world, &book, STOCK).await;
        world.stop(0);

        block_in_place(|| delete_topic(&world));
        let said = refused(&world, &world.postgres);
        assert!(said.contains("there is no topic"), "{said}");
        let topic = kafka::prepare(&world.kafka).await.unwrap();
        assert!(topic.offsets.iter().all(|offsets| *offsets == (0, 0)), "a topic that was missing was made anew: {topic:?}");
        let said = refused(&world, &world.postgres);
        assert!(said.contains("the log is another one, or has lost records"), "{said}");
        let topic = kafka::look(&world.kafka).await.unwrap();
        assert!(topic.offsets.iter().all(|offsets| *offsets == (0, 0)), "an empty topic was begun: {topic:?}");
    });
}

#[test]
pub fn a_server_with_a_folder_of_its_own_begins_where_the_copies_of_the_state_end() {
    scenario::alone(async {
        let mut world = World::new("copies", &Brokers::One, None).with_servers(1, STOCK).await;
        let book = world.crowd(1_200, 16, 0).finish(Duration::from_secs(60)).await;
        check::exactly(&world, &book, STOCK).await;
        assert_eq!(world.projecting().await, 0);
        world.stop(0);
        let elsewhere = world.folder().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::copy(world.data().join("code-secret"), elsewhere.join("code-secret")).unwrap();
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "info", "--data"]).arg(&elsewhere).args(world.flags());
        let mut program = Program::spawn_command(command);
        eventually("the server follows the log", Duration::from_secs(30), async || program.said().contains("following the log")).await;
        let begins_at = begins_at(&world, &program.said());
        assert!(STOCK < begins_at, "it begins at {begins_at}, and not at a copy");
        block_in_place(|| program.stop());
        // It is the same state: the first one goes on with it.
        world.start(0);
        check::as_told(&world, &book, STOCK).await;
    });
}

/// From which offset on a server reads the campaign's partition, by what it said as it started.
fn begins_at(world: &World, said: &str) -> u64 {
    let line = said.lines().find(|line| line.contains("following the log")).unwrap();
    let offsets = line.split_once("\"offsets\":\"[").unwrap().1.split_once(']').unwrap().0;
    let offset = offsets.split(", ").nth(partition_of(&world.name, world.kafka.partitions) as usize);
    offset.unwrap().parse().unwrap()
}

/// The tables as they are now, as from a backup.
fn copy_of_tables(world: &World) -> String {
    let (server, name) = world.postgres.rsplit_once('/').unwrap();
    let (copy, sql) = (format!("{name}_copy"), format!("CREATE DATABASE {name}_copy TEMPLATE {name}"));
    let runtime = tokio::runtime::Handle::current();
    runtime.block_on(async {
        let client = check::connect(&format!("{server}/postgres")).await;
        client.batch_execute(&sql).await.unwrap();
    });
    format!("{server}/{copy}")
}

/// Kafka's own way to delete what is old.
fn forget_records(world: &World) {
    let file = world.folder().join("offsets.json");
    let partition = |partition| format!("{{\"topic\":\"{}\",\"partition\":{partition},\"offset\":-1}}", world.kafka.topic);
    let partitions: Vec<String> = (0..world.kafka.partitions).map(partition).collect();
    fs::write(&file, format!("{{\"version\":1,\"partitions\":[{}]}}", partitions.join(","))).unwrap();
    let arguments = ["--bootstrap-server", &world.kafka.hosts, "--offset-json-file", file.to_str().unwrap()];
    engines::one_broker().tool("org.apache.kafka.tools.DeleteRecordsCommand", &arguments).unwrap();
}

fn delete_topic(world: &World) {
    let arguments = ["--bootstrap-server", &world.kafka.hosts, "--delete", "--topic", &world.kafka.topic];
    engines::one_broker().tool("org.apache.kafka.tools.TopicCommand", &arguments).unwrap();
}

/// What a server says that does not start with these tables.
fn refused(world: &World, tables: &str) -> String {
    let mut flags = world.flags();
    let place = flags.iter().position(|flag| flag == "--postgres").unwrap();
    tables.clone_into(&mut flags[place + 1]);
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(world.data()).args(flags);
    let mut program = Program::spawn_command(command);
    let status = block_in_place(|| program.wait(Duration::from_secs(30))).expect("it does not end");
    // What it said last is read by another thread.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(status.code(), Some(3), "{}", program.said());
    program.said()
}
