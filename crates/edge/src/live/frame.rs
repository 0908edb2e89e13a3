//! The state that a live stream shows at one moment, and its events, encoded once for all subscribers.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// Which fields a subscriber may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// The public fields.
    Public,
    /// The public and the private fields.
    Private,
}

/// The state shown at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Picture {
    /// Fields for everyone.
    pub public: Map<String, Value>,
    /// Fields for callers that may see which subject did what.
    pub private: Map<String, Value>,
}

/// One event for one audience, ready to be sent.
#[derive(Clone, Debug)]
pub struct Frame {
    sse: Bytes,
    json_start: usize,
}

/// One event for each audience.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    public: Frame,
    private: Frame,
}

impl Frame {
    fn new(kind: &str, id: &str, json: &str) -> Self {
        let head = format!("event: {kind}\nid: {id}\ndata: ");
        Self { json_start: head.len(), sse: Bytes::from(format!("{head}{json}\n\n")) }
    }

    /// The event as Server-Sent Events.
    #[must_use]
    pub fn sse(&self) -> Bytes {
        self.sse.clone()
    }

    /// The event's JSON, which shares the memory of [`Frame::sse`].
    #[must_use]
    pub fn json(&self) -> Bytes {
        self.sse.slice(self.json_start..self.sse.len() - 2)
    }
}

impl Encoded {
    pub(super) fn frame(&self, audience: Audience) -> &Frame {
        match audience {
            Audience::Public => &self.public,
            Audience::Private => &self.private,
        }
    }

    fn new(kind: &str, id: &str, seq: u64, at: &str, fields: &Picture) -> Self {
        let mut all = Map::new();
        all.insert("event".to_owned(), json!(kind));
        all.insert("id".to_owned(), json!(id));
        all.insert("seq".to_owned(), json!(seq));
        all.insert("at".to_owned(), json!(at));
        all.extend(fields.public.clone());
        let public = Frame::new(kind, id, &Value::Object(all.clone()).to_string());
        if fields.private.is_empty() {
            return Self { private: public.clone(), public };
        }
        all.extend(fields.private.clone());
        Self { private: Frame::new(kind, id, &Value::Object(all).to_string()), public }
    }
}

impl Picture {
    /// All fields.
    pub(super) fn snapshot(&self, id: &str, seq: u64, at: &str) -> Encoded {
        Encoded::new("snapshot", id, seq, at, self)
    }

    /// The fields that differ from `before`.
    pub(super) fn delta(&self, before: &Self, id: &str, seq: u64, at: &str) -> Encoded {
        let changed = Self { public: changed(&self.public, &before.public), private: changed(&self.private, &before.private) };
        Encoded::new("delta", id, seq, at, &changed)
    }
}

fn changed(fields: &Map<String, Value>, before: &Map<String, Value>) -> Map<String, Value> {
    let changed = fields.iter().filter(|(name, value)| before.get(*name) != Some(value));
    changed.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_either_kind_shares_its_bytes() {
        let fields = Picture { public: Map::new(), private: Map::from_iter([("last_claims".to_owned(), json!(["ann"]))]) };
        let encoded = Encoded::new("delta", "a-7", 7, "now", &fields);
        let json = r#"{"event":"delta","id":"a-7","seq":7,"at":"now"}"#;
        let public = encoded.frame(Audience::Public);
        assert_eq!(public.json(), json);
        assert_eq!(public.sse(), format!("event: delta\nid: a-7\ndata: {json}\n\n"));
        let private: Value = serde_json::from_slice(&encoded.frame(Audience::Private).json()).unwrap();
        assert_eq!(private["last_claims"], json!(["ann"]));
    }
}
