//! The other side of a live stream: Server-Sent Events on a blocking socket, and what their deltas
//! add up to.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Map, Value};

use testing::http::connect;

/// One event, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub kind: String,
    pub id: String,
    pub data: String,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    pub fn seq(&self) -> u64 {
        self.json()["seq"].as_u64().unwrap()
    }

    pub fn is_snapshot(&self) -> bool {
        self.kind == "snapshot"
    }
}

/// A stream of events.
pub struct Stream {
    reader: BufReader<TcpStream>,
    chunk_left: usize,
    pub status: u16,
    pub head: String,
    pub has_ended_well: bool,
}

impl Stream {
    pub fn open(address: SocketAddr, campaign: &str, headers: &[(&str, &str)]) -> Self {
        Self::of(address, &format!("campaigns/{campaign}"), headers)
    }

    /// The stream of anything: `campaigns/spring`.
    pub fn of(address: SocketAddr, what: &str, headers: &[(&str, &str)]) -> Self {
        let socket = connect(address).unwrap();
        // Nothing comes while brokers elect a leader.
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self::begin(socket, what, headers)
    }

    /// The same on a socket that is there.
    pub fn over(socket: TcpStream, campaign: &str, headers: &[(&str, &str)]) -> Self {
        Self::begin(socket, &format!("campaigns/{campaign}"), headers)
    }

    fn begin(mut socket: TcpStream, what: &str, headers: &[(&str, &str)]) -> Self {
        let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET /v1/{what}/live HTTP/1.1\r\nhost: localhost\r\n{extra}\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "no answer: {head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { reader, chunk_left: 0, status, head: head.to_lowercase(), has_ended_well: false }
    }

    pub fn patience(&mut self, time: Duration) {
        self.reader.get_mut().set_read_timeout(Some(time)).unwrap();
    }

    /// The next event; nothing once the stream has ended. Comments are passed over.
    pub fn try_next(&mut self) -> io::Result<Option<Event>> {
        let (mut kind, mut id, mut data, mut comments) = (String::new(), String::new(), String::new(), 0);
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            // The server is there and has nothing to say: what is waited for does not come.
            comments += u32::from(line.starts_with(':'));
            assert!(comments < 3, "nothing but comments");
            match line.split_once(": ") {
                Some(("event", value)) => kind = value.to_owned(),
                Some(("id", value)) => id = value.to_owned(),
                Some(("data", value)) => data = value.to_owned(),
                None if line.is_empty() && !kind.is_empty() => return Ok(Some(Event { kind, id, data })),
                Some(("", _)) | None => {}
                Some(_) => panic!("{line:?} is no line of an event"),
            }
        }
    }

    pub fn next(&mut self) -> Event {
        self.try_next().unwrap().expect("the stream has ended")
    }

    /// Reads until an event says this; gives all events that came.
    pub fn until(&mut self, mut says: impl FnMut(&Value) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next();
            let is_last = says(&event.json());
            events.push(event);
            if is_last {
                return events;
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let Some(byte) = self.byte()? else { return Ok(None) };
            if byte == b'\n' {
                return Ok(Some(String::from_utf8(line).unwrap()));
            }
            line.push(byte);
        }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        if self.chunk_left == 0 {
            let mut size = String::new();
            while size.trim().is_empty() {
                size.clear();
                if self.reader.read_line(&mut size)? == 0 {
                    return Ok(None);
                }
            }
            self.chunk_left = usize::from_str_radix(size.trim(), 16).unwrap();
            if self.chunk_left == 0 {
                self.has_ended_well = true;
                return Ok(None);
            }
        }
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.chunk_left -= 1;
        Ok(Some(byte[0]))
    }
}

/// What a page shows: the last snapshot, with every delta put over it.
#[derive(Debug, Default)]
pub struct Shown {
    pub fields: Map<String, Value>,
}

impl Shown {
    pub fn take(&mut self, event: &Event) {
        let Value::Object(fields) = event.json() else { panic!("no object") };
        if event.is_snapshot() {
            self.fields = fields;
        } else {
            self.fields.extend(fields);
        }
    }

    pub fn number(&self, name: &str) -> u64 {
        self.fields[name].as_u64().unwrap_or_else(|| panic!("{name} is missing"))
    }
}

/// Each delta follows on the event before it.
pub fn assert_no_gap(events: &[Event]) {
    for pair in events.windows(2) {
        if !pair[1].is_snapshot() {
            assert_eq!(pair[1].seq(), pair[0].seq() + 1, "after {:?}", pair[0]);
        }
    }
}
