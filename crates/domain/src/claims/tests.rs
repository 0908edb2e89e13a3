//! Claims are found by serial and by subject, whatever became of them and however they came here.

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

#[test]
fn a_slot_keeps_times_end_and_status_apart() {
    let mut slot = Slot::new(Timestamp::MAX, 4_096 * 128);
    assert_eq!((slot.claimed_at(), slot.name_end(), slot.status()), (Timestamp::MAX, 524_288, ClaimStatus::Live));
    slot.set_status(ClaimStatus::Redeemed { redeemed_at: at(9) });
    assert_eq!((slot.claimed_at(), slot.name_end()), (Timestamp::MAX, 524_288));
    assert_eq!(slot.status(), ClaimStatus::Redeemed { redeemed_at: at(9) });
    slot.set_status(ClaimStatus::Cancelled { cancelled_at: Timestamp::MAX });
    assert_eq!(slot.status(), ClaimStatus::Cancelled { cancelled_at: Timestamp::MAX });
    assert_eq!(slot.name_end(), 524_288);
}

#[test]
fn claims_are_found_by_serial_and_by_subject_over_many_blocks() {
    let mut claims = Claims::new(HashSeed(1, 2));
    let names: Vec<String> = (0..10_000).map(|user| format!("user-{user}")).collect();
    for (time, name) in names.iter().enumerate() {
        claims.push(SubjectId::new(name).unwrap(), at(time as u64));
    }
    for (place, name) in names.iter().enumerate() {
        let serial = Serial::new(u32::try_from(place).unwrap() + 1).unwrap();
        let claim = claims.get(serial).unwrap();
        assert_eq!((claim.subject.as_str(), claim.claimed_at), (name.as_str(), at(place as u64)));
        assert_eq!(claims.holding(claim.subject).collect::<Vec<_>>(), [serial]);
    }
}

fn subject_of(number: u32) -> String {
    // Every third claim is of a subject that has others.
    if number.is_multiple_of(3) { format!("many-{}", number % 600) } else { format!("one-{number}") }
}

fn serial(number: u32) -> Serial {
    Serial::new(number).unwrap()
}

fn holding(claims: &Claims, subject: &str) -> Vec<u32> {
    let mut found: Vec<u32> = claims.holding(SubjectId::new(subject).unwrap()).map(Serial::get).collect();
    found.sort_unstable();
    found
}

fn read_back(claims: &Claims) -> Claims {
    let mut read = Claims::new(HashSeed(3, 4));
    for block in claims.blocks() {
        let mut encoded = Vec::new();
        bytes::encode(&block, &mut encoded);
        read.push_block(bytes::decode(block.len(), &encoded).unwrap());
    }
    read.index_blocks();
    read
}

#[test]
fn claims_that_were_read_back_are_found_and_change_like_those_that_were_made() {
    const COUNT: u32 = 20_000;
    let mut made = Claims::new(HashSeed(1, 2));
    (1..=COUNT).for_each(|number| made.push(SubjectId::new(&subject_of(number)).unwrap(), at(1)));
    (1..=COUNT).step_by(7).for_each(|number| made.cancel(serial(number), at(2)));
    (2..=COUNT).step_by(7).for_each(|number| made.redeem(serial(number), at(3)));
    let mut read = read_back(&made);
    assert!(read.memory_bytes() <= made.memory_bytes());
    let same = |made: &Claims, read: &Claims| {
        assert_eq!((made.count(), made.holding_count()), (read.count(), read.holding_count()));
        for number in (1..).take(made.count()) {
            assert_eq!(made.get(serial(number)), read.get(serial(number)));
            assert_eq!(holding(made, &subject_of(number)), holding(read, &subject_of(number)), "claim {number}");
        }
    };
    same(&made, &read);
    for claims in [&mut made, &mut read] {
        (3..=COUNT).step_by(7).for_each(|number| claims.cancel(serial(number), at(4)));
        (COUNT + 1..=COUNT * 2).for_each(|number| claims.push(SubjectId::new(&subject_of(number)).unwrap(), at(5)));
    }
    same(&made, &read);
}

#[test]
fn a_block_is_read_back_only_if_every_name_in_it_is_one() {
    let encode = |name: &[u8]| {
        let block = Block { slots: vec![Slot::new(at(1), 1), Slot::new(at(1), 1 + name.len())], names: [b"a", name].concat() };
        let mut encoded = Vec::new();
        bytes::encode(&block, &mut encoded);
        encoded
    };
    let long = [b'x'; 129];
    let texts = ["", ".", "..", "...", "b", "a b", "ä", "a/b", "user:7_a-b.c", "\0", "\u{7f}", "[", "`", "{", "@"];
    for name in texts.iter().map(|text| text.as_bytes()).chain([&long[..128], &long, b"\xff"]) {
        let is_name = std::str::from_utf8(name).is_ok_and(|name| SubjectId::new(name).is_ok());
        assert_eq!(bytes::decode(2, &encode(name)).is_some(), is_name, "{name:?}");
    }
    for byte in 0..=u8::MAX {
        let is_name = std::str::from_utf8(&[byte]).is_ok_and(|name| SubjectId::new(name).is_ok());
        assert_eq!(bytes::decode(2, &encode(&[byte])).is_some(), is_name, "{byte}");
    }
}

#[test]
#[should_panic(expected = "a claim is cancelled once")]
fn a_claim_that_holds_nothing_cannot_be_cancelled() {
    let mut claims = Claims::new(HashSeed(1, 2));
    claims.push(SubjectId::new("ann").unwrap(), at(1));
    claims.cancel(serial(1), at(2));
    claims.cancel(serial(1), at(3));
}

#[test]
#[should_panic(expected = "a claim is decided before its status changes")]
fn a_claim_that_is_pending_cannot_be_redeemed() {
    let mut claims = Claims::new(HashSeed(1, 2));
    claims.accept(SubjectId::new("ann").unwrap(), at(1));
    claims.redeem(serial(1), at(2));
}

#[test]
fn a_snapshot_of_the_blocks_does_not_see_what_comes_later() {
    let mut claims = Claims::new(HashSeed(1, 2));
    claims.push(SubjectId::new("ann").unwrap(), at(1));
    let before = claims.blocks();
    claims.cancel(Serial::new(1).unwrap(), at(2));
    claims.push(SubjectId::new("bob").unwrap(), at(3));
    assert_eq!(before[0].len(), 1);
    assert_eq!(before[0].slots[0].status(), ClaimStatus::Live);
}

#[test]
fn a_claim_costs_at_most_32_bytes_and_its_name() {
    let mut claims = Claims::new(HashSeed(1, 2));
    for user in 0..300_000_u32 {
        claims.push(SubjectId::new(&format!("user-{user:08}")).unwrap(), at(1));
    }
    assert!(claims.memory_bytes() <= 300_000 * (32 + 13), "{}", claims.memory_bytes() / 300_000);
}
