//! What is not written by this program is refused: whatever the bytes of a fixture are cut to or
//! changed into is no record, command or state, or is another one with just these bytes.

use domain::hash::HashSeed;
use domain::wire::command::decode_command;
use domain::wire::decode_record;

use super::{Parts, Sections, encode, encode_ask, rebuild, sections};

pub fn no_record_is_cut_short_or_goes_on(records: &[Parts]) {
    for (body, private) in records {
        assert!((0..body.len()).all(|length| decode_record(&body[..length], Some(private)).is_err()));
        assert!((0..private.len()).all(|length| decode_record(body, Some(&private[..length])).is_err()));
        assert!(decode_record(&[&body[..], &[0]].concat(), Some(private)).is_err());
        assert!(decode_record(body, Some(&[&private[..], &[0]].concat())).is_err());
    }
}

pub fn no_command_is_cut_short_or_goes_on(commands: &[Vec<u8>]) {
    for bytes in commands {
        assert!((0..bytes.len()).all(|length| decode_command(&bytes[..length]).is_err()));
        assert!(decode_command(&[&bytes[..], &[0]].concat()).is_err());
        assert!(decode_command(&[&[3], &bytes[1..]].concat()).is_err(), "of another format");
    }
}

pub fn a_changed_record_is_refused_or_another(records: &[Parts]) {
    for (body, private) in records {
        let bodies = changes(body).into_iter().map(|body| (body, private.clone()));
        let privates = changes(private).into_iter().map(|private| (body.clone(), private));
        for changed in bodies.chain(privates) {
            if let Ok(record) = decode_record(&changed.0, Some(&changed.1)) {
                assert_eq!(encode(&record), changed);
            }
        }
    }
}

pub fn a_changed_command_is_refused_or_another(commands: &[Vec<u8>]) {
    for changed in commands.iter().flat_map(|bytes| changes(bytes)) {
        if let Ok(command) = decode_command(&changed) {
            assert_eq!(encode_ask(&command), changed);
        }
    }
}

pub fn a_changed_or_truncated_section_is_refused_or_another(state: &Sections) {
    for (place, section) in state.iter().enumerate() {
        let cut = (0..section.len()).map(|length| section[..length].to_vec());
        for changed in changes(section).into_iter().chain(cut) {
            let mut sections = state.clone();
            sections[place] = changed;
            refused_or_same(&sections);
        }
    }
}

pub fn refused_or_same(changed: &Sections) {
    if let Ok(state) = rebuild(changed, HashSeed(7, 8)) {
        assert_eq!(&sections(&state), changed);
    }
}

/// Every byte with each bit flipped, at its smallest, and at its largest.
fn changes(bytes: &[u8]) -> Vec<Vec<u8>> {
    let places = 0..bytes.len();
    let change = |place: usize, byte: u8| {
        let mut changed = bytes.to_vec();
        changed[place] = byte;
        changed
    };
    places.flat_map(|place| (0..8).map(move |bit| bytes[place] ^ (1 << bit)).chain([0, 255]).map(move |byte| change(place, byte))).collect()
}
