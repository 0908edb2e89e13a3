//! A program that did not run for a while: a suspended machine, a debugger, a stolen core.
#![allow(clippy::unwrap_used)]

use std::io::{BufReader, Write};
use std::time::Duration;

use rustix::process::Signal;

use crate::live_client::stream::Stream;
use crate::support::http::{Client, connect, read_answer};
use crate::support_process::program::Program;

/// Longer than every limit below and a check of the server's beyond it.
const SUSPENDED: Duration = Duration::from_secs(4);

#[test]
fn no_client_is_charged_for_the_time_in_which_the_program_did_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let limits = ["--header-time-ms", "1500", "--idle-time-ms", "1500", "--write-time-ms", "1500"];
    let (mut program, address) = Program::start(&folder.path().join("data"), &limits);
    let mut client = Client::new(address);
    assert_eq!(client.put("/v1/campaigns/spring", r#"{"stock":100}"#).status, 201);

    let mut subscriber = Stream::open(address, "spring", &[]);
    assert!(subscriber.next().is_snapshot());
    let mut halfway = connect(address).unwrap();
    halfway.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let mut claiming = connect(address).unwrap();
    // Gives the server the time to see both.
    assert_eq!(client.get("/healthz").status, 200);

    program.signal(Signal::STOP);
    let body = r#"{"subject":"ann"}"#;
    let head = "POST /v1/campaigns/spring/claims HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    claiming.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    std::thread::sleep(SUSPENDED);
    program.signal(Signal::CONT);

    halfway.write_all(b"host: localhost\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut BufReader::new(halfway), false).unwrap().status, 200);
    assert_eq!(read_answer(&mut BufReader::new(claiming), false).unwrap().status, 201);
    assert!(!subscriber.until(|event| event["issued"] == 1).pop().unwrap().is_snapshot());
    program.stop();
}
