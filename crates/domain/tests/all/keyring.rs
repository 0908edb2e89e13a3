//! The rules of the keyring: each for itself, and all of them against the oracle's naive statement.
#![allow(clippy::unwrap_used)]

use domain::hash::HashSeed;
use domain::keyring::{
    self, Asker, CODE_KEYS_MAX, Command as Ask, Event, KEYS_MAX, Key, KeyName, Keyring, KeyringSettings, OVERLAP_MS_MAX, Prefix, Rejection,
    Scope, Scopes, SecretDigest, ShownDigest,
};
use domain::state::{Action, Change, Command, Decision, Done, Precondition, Record, State, decide};
use domain::types::{ActorId, RequestId, Timestamp};
use domain::workload::{Listed, Number};
use oracle::{Oracle, adapter};
use proptest::prelude::*;
use proptest::sample::select;

use crate::common::{rebuild, sections};

const SEED: HashSeed = HashSeed(1, 2);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn name(text: &str) -> KeyName<'_> {
    KeyName::new(text).unwrap()
}

static SECRETS: [SecretDigest; 10] = {
    let mut secrets = [SecretDigest([0; 32]); 10];
    let mut number = 0;
    while number < 10 {
        secrets[number] = SecretDigest([number as u8; 32]);
        number += 1;
    }
    secrets
};

fn secret(number: u8) -> ShownDigest<'static> {
    SECRETS[usize::from(number)].shown()
}

fn scopes(of: &[Scope]) -> Scopes {
    of.iter().copied().collect()
}

fn create<'a>(key: &'a str, of: &[Scope], number: u8) -> Ask<'a> {
    Ask::CreateKey { by: Asker::Operator, key: name(key), scopes: scopes(of), campaigns: Prefix::new("").unwrap(), secret: secret(number) }
}

fn rotate(key: &str, number: u8, overlap_ms: u64) -> Ask<'_> {
    Ask::RotateKey { by: Asker::Operator, key: name(key), secret: secret(number), overlap_ms }
}

fn revoke(key: &str) -> Ask<'_> {
    Ask::RevokeKey { by: Asker::Operator, key: name(key) }
}

fn by(asker: Asker<'static>, ask: Ask<'static>) -> Ask<'static> {
    match ask {
        Ask::CreateKey { key, scopes, campaigns, secret, .. } => Ask::CreateKey { by: asker, key, scopes, campaigns, secret },
        Ask::RotateKey { key, secret, overlap_ms, .. } => Ask::RotateKey { by: asker, key, secret, overlap_ms },
        Ask::RotateKeyAlone { key, secret, overlap_ms, .. } => Ask::RotateKeyAlone { by: asker, key, secret, overlap_ms },
        Ask::RevokeKey { key, .. } => Ask::RevokeKey { by: asker, key },
        Ask::RotateCodeKey { .. } => Ask::RotateCodeKey { by: asker },
    }
}

struct World(State);

impl World {
    fn empty() -> Self {
        let mut state = State::new(SEED);
        let settings = Keyring::any_settings(KeyringSettings {});
        evolve(&mut state, 0, Change::Created { number: Number(0), name: keyring::NAME, settings });
        Self(state)
    }

    /// With the keys `admin` and `shop`, whose secrets are 1 and 2.
    fn with_shop() -> Self {
        let mut world = Self::empty();
        world.ask(1, create("admin", &[Scope::Admin], 1)).unwrap();
        world.ask(1, create("shop", &[Scope::Issue], 2)).unwrap();
        world
    }

    fn ask(&mut self, millis: u64, ask: Ask<'_>) -> Result<(), Rejection> {
        let command = Command::local(Action::of::<Keyring>(keyring::NAME, ask));
        match decide(&self.0, &command, at(millis)) {
            Ok(Decision::Change(change)) => {
                evolve(&mut self.0, millis, change);
                Ok(())
            }
            Ok(other) => panic!("{other:?}"),
            Err(domain::Rejection::Of(why)) => Err(Keyring::rejection(&why).unwrap().clone()),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn key(&self, key: &str) -> Key {
        self.0.get::<Keyring>(keyring::NAME).unwrap().items.ring.keys.get(key).unwrap().clone()
    }
}

fn evolve(state: &mut State, millis: u64, change: Change<'_>) {
    state.evolve(&Record { at: at(millis), actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, change });
    assert_eq!(state.check(), Ok(()));
}

#[test]
fn the_first_key_is_an_admins() {
    let mut world = World::empty();
    assert_eq!(world.ask(1, create("shop", &[Scope::Issue, Scope::Read], 1)), Err(Rejection::FirstNotAdmin));
    assert_eq!(world.ask(1, create("shop", &[Scope::Admin, Scope::Read], 1)), Ok(()));
    assert_eq!(world.ask(1, create("other", &[Scope::Read], 1)), Ok(()));
}

#[test]
fn names_scopes_and_prefixes_are_checked() {
    let long = "a".repeat(65);
    for text in ["", ".", "..", "a b", "a:b", "é", "local", "users", "engine", &long] {
        assert!(KeyName::new(text).is_err(), "{text}");
    }
    assert!(KeyName::new(&long[1..]).is_ok());
    for text in ["a b", "é", &"x".repeat(129)] {
        assert!(Prefix::new(text).is_err(), "{text}");
    }
    assert!(["", "spring-", ".", "..", "a:"].iter().all(|text| Prefix::new(text).is_ok()));
    let (by, key, secret) = (Asker::Operator, name("shop"), secret(1));
    let limited = |scopes| Ask::CreateKey { by, key, scopes, campaigns: Prefix::new("spring-").unwrap(), secret };
    let mut world = World::with_shop();
    assert_eq!(world.ask(1, limited(scopes(&[Scope::Read, Scope::Admin]))), Err(Rejection::AdminLimited));
    assert_eq!(world.ask(1, limited(scopes(&[Scope::Read]))), Err(Rejection::KeyExists));
}

#[test]
fn a_name_is_never_used_again() {
    let mut world = World::with_shop();
    assert_eq!(world.ask(2, create("shop", &[Scope::Read], 3)), Err(Rejection::KeyExists));
    world.ask(2, revoke("shop")).unwrap();
    assert_eq!(world.ask(3, create("shop", &[Scope::Read], 3)), Err(Rejection::KeyExists));
}

#[test]
fn a_rotated_key_has_the_secret_before_until_the_end_of_the_overlap() {
    let mut world = World::with_shop();
    world.ask(1_000, rotate("shop", 3, 100)).unwrap();
    let key = world.key("shop");
    assert_eq!((key.secret.shown(), key.rotated_at), (secret(3), Some(at(1_000))));
    assert_eq!(overlaps(&key), [(2, 1_100)]);
    world.ask(1_002, rotate("shop", 5, 0)).unwrap();
    assert_eq!(overlaps(&world.key("shop")), []);
    assert_eq!(world.ask(1_003, rotate("shop", 6, OVERLAP_MS_MAX + 1)), Err(Rejection::OverlapTooLong));
    assert_eq!(world.ask(1_003, rotate("shop", 6, OVERLAP_MS_MAX)), Ok(()));
}

/// Issue 16: the answer to a rotation may be lost, and asking again must not end what was promised.
#[test]
fn a_second_rotation_never_shortens_an_overlap() {
    let mut world = World::with_shop();
    world.ask(1_000, rotate("shop", 3, 100)).unwrap();
    world.ask(1_001, rotate("shop", 4, 100)).unwrap();
    world.ask(1_002, rotate("shop", 5, 1)).unwrap();
    assert_eq!(overlaps(&world.key("shop")), [(2, 1_100), (3, 1_101), (4, 1_003)]);
    assert_eq!(world.key("shop").overlap_until(at(1_050)), Some(at(1_101)));
    // What has ended makes room; what has not is never pushed out.
    world.ask(1_003, rotate("shop", 6, 50)).unwrap();
    world.ask(1_004, rotate("shop", 7, 60)).unwrap();
    assert_eq!(overlaps(&world.key("shop")), [(2, 1_100), (3, 1_101), (5, 1_053), (6, 1_064)]);
    let full = Err(Rejection::OverlapsFull { overlap_until: at(1_053) });
    assert_eq!((world.ask(1_005, rotate("shop", 8, 1)), world.ask(1_052, rotate("shop", 8, 1))), (full.clone(), full));
    assert_eq!(world.ask(1_053, rotate("shop", 8, 1)), Ok(()));
    // A leak: everything ends at once.
    world.ask(1_054, rotate("shop", 9, 0)).unwrap();
    assert_eq!(overlaps(&world.key("shop")), []);
}

/// Journals from before say that a second rotation ended the first secret, and then it did.
#[test]
fn an_older_record_of_a_rotation_ends_the_secrets_before() {
    let mut world = World::with_shop();
    world.ask(1_000, rotate("shop", 3, 100)).unwrap();
    let alone = Ask::RotateKeyAlone { by: Asker::Operator, key: name("shop"), secret: secret(4), overlap_ms: 100 };
    world.ask(1_001, alone).unwrap();
    assert_eq!(overlaps(&world.key("shop")), [(3, 1_101)]);
}

/// Numbers of the earlier secrets, with the millisecond at which each ends.
fn overlaps(key: &Key) -> Vec<(u8, u64)> {
    key.overlaps.iter().map(|overlap| (overlap.secret.0[0], overlap.until.millis())).collect()
}

#[test]
fn a_revoked_key_stays_revoked() {
    let mut world = World::with_shop();
    world.ask(1_000, rotate("shop", 3, 10_000)).unwrap();
    world.ask(1_001, revoke("shop")).unwrap();
    assert_eq!((world.key("shop").revoked_at, overlaps(&world.key("shop"))), (Some(at(1_001)), Vec::new()));
    let revoked = Err(Rejection::KeyRevoked { revoked_at: at(1_001) });
    assert_eq!(world.ask(1_002, revoke("shop")), revoked);
    assert_eq!(world.ask(1_002, rotate("shop", 4, 0)), revoked);
    assert_eq!(world.ask(1_002, revoke("nobody")), Err(Rejection::KeyNotFound));
}

#[test]
fn the_last_admin_is_revoked_by_the_operator_only() {
    let admin = Asker::Holder { key: name("admin"), secret: secret(1) };
    let mut world = World::with_shop();
    assert_eq!(world.ask(2, by(admin, revoke("admin"))), Err(Rejection::LastAdmin));
    world.ask(2, create("second", &[Scope::Admin], 3)).unwrap();
    assert_eq!(world.ask(3, by(admin, revoke("second"))), Ok(()));
    assert_eq!(world.ask(4, by(admin, revoke("admin"))), Err(Rejection::LastAdmin));
    assert_eq!(world.ask(4, revoke("admin")), Ok(()));
}

/// What was authenticated before the command got its place counts for nothing if the key has ended since.
#[test]
fn whoever_was_revoked_or_rotated_ahead_of_a_command_changes_nothing() {
    let more = |asker| by(asker, create("more", &[Scope::Read], 9));
    let holder = |number| Asker::Holder { key: name("admin"), secret: secret(number) };
    let mut world = World::empty();
    assert_eq!(world.ask(1, by(Asker::Anyone, create("admin", &[Scope::Admin], 1))), Ok(()));
    assert_eq!(world.ask(1, more(Asker::Anyone)), Err(Rejection::AskerEnded));
    assert_eq!(world.ask(1, more(holder(7))), Err(Rejection::AskerEnded));
    world.ask(1_000, rotate("admin", 2, 100)).unwrap();
    assert_eq!(world.ask(1_100, more(holder(1))), Err(Rejection::AskerEnded));
    world.ask(1_100, rotate("admin", 3, 100)).unwrap();
    assert_eq!(world.ask(1_199, more(holder(2))), Ok(()));
    world.ask(1_200, revoke("admin")).unwrap();
    assert_eq!(world.ask(1_201, by(holder(3), revoke("more"))), Err(Rejection::AskerEnded));
}

#[test]
fn there_is_a_limit_to_keys() {
    let mut world = World::empty();
    for number in 0..KEYS_MAX {
        world.ask(1, create(&format!("k{number}"), &[Scope::Admin], 1)).unwrap();
    }
    assert_eq!(world.ask(2, create("more", &[Scope::Read], 1)), Err(Rejection::KeysFull));
}

/// The number goes up by one each time, so that no campaign has the key that another one had before it.
#[test]
fn code_keys_are_numbered_and_have_a_limit() {
    let mut world = World::empty();
    let code_key = |world: &World| world.0.get::<Keyring>(keyring::NAME).unwrap().items.ring.code_key;
    assert_eq!(code_key(&world), 1);
    let rotate = Ask::RotateCodeKey { by: Asker::Anyone };
    assert_eq!(world.ask(1, rotate), Ok(()));
    world.ask(2, create("admin", &[Scope::Admin], 1)).unwrap();
    assert_eq!(world.ask(3, rotate), Err(Rejection::AskerEnded));
    let rotate = by(Asker::Operator, rotate);
    for number in 3..=CODE_KEYS_MAX {
        world.ask(4, rotate).unwrap();
        assert_eq!(code_key(&world), number);
    }
    assert_eq!(world.ask(5, rotate), Err(Rejection::CodeKeysFull));
    assert_eq!(code_key(&rebuilt(&world)), CODE_KEYS_MAX);
}

fn rebuilt(world: &World) -> World {
    World(rebuild(&sections(&world.0), SEED).unwrap())
}

/// A record that the rules cannot have decided is refused on replay.
#[test]
fn a_forged_record_does_not_fit() {
    let mut world = World::with_shop();
    world.ask(2, create("old", &[Scope::Read], 3)).unwrap();
    world.ask(2, revoke("old")).unwrap();
    let fits = |event| {
        let change = Change::Did(Done { number: Number(0), event: Keyring::any_event(event) });
        world.0.fits(&Record { at: at(9), actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, change })
    };
    let created = |key, of: &[Scope], campaigns| Event::KeyCreated { key, scopes: scopes(of), campaigns, secret: secret(4) };
    let rotated = |key, overlap_ms| Event::KeyRotated { key, secret: secret(4), overlap_ms };
    let (all, some) = (Prefix::new("").unwrap(), Prefix::new("a").unwrap());
    assert!(fits(created(name("new"), &[Scope::Admin], all)) && fits(rotated(name("shop"), 0)));
    assert!(fits(Event::KeyRevoked { key: name("admin") }) && fits(Event::CodeKeyRotated { number: 2 }));
    for event in [
        created(name("shop"), &[Scope::Read], all),
        created(name("old"), &[Scope::Read], all),
        created(name("new"), &[Scope::Admin], some),
        rotated(name("old"), 0),
        rotated(name("nobody"), 0),
        rotated(name("shop"), OVERLAP_MS_MAX + 1),
        Event::KeyRevoked { key: name("old") },
        Event::KeyRevoked { key: name("nobody") },
        Event::CodeKeyRotated { number: 1 },
        Event::CodeKeyRotated { number: 3 },
    ] {
        assert!(!fits(event), "{event:?}");
    }
}

fn askers() -> impl Strategy<Value = Asker<'static>> {
    let holder =
        (select(&["admin", "shop", "till"]), 0..6_u8).prop_map(|(key, number)| Asker::Holder { key: name(key), secret: secret(number) });
    prop_oneof![3 => Just(Asker::Operator), 1 => Just(Asker::Anyone), 4 => holder]
}

fn asks() -> impl Strategy<Value = Ask<'static>> {
    let key = || select(&["admin", "shop", "till", "gate"]).prop_map(name);
    let digest = || (0..6_u8).prop_map(secret);
    const SETS: [&[Scope]; 4] = [&[Scope::Admin], &[Scope::Admin, Scope::Read], &[Scope::Issue], &[Scope::Read, Scope::Redeem]];
    let some_scopes = select(&SETS);
    let prefix = prop_oneof![3 => Just(""), 1 => Just("spring-")].prop_map(|text| Prefix::new(text).unwrap());
    let overlap = select(&[0_u64, 0, 1, 3, 10, OVERLAP_MS_MAX, OVERLAP_MS_MAX + 1]);
    let create = (askers(), key(), some_scopes, prefix, digest()).prop_map(|(by, key, of, campaigns, secret)| Ask::CreateKey {
        by,
        key,
        scopes: scopes(of),
        campaigns,
        secret,
    });
    let rotate =
        (askers(), key(), digest(), overlap).prop_map(|(by, key, secret, overlap_ms)| Ask::RotateKey { by, key, secret, overlap_ms });
    let overlap = select(&[0_u64, 1, 10]);
    let alone =
        (askers(), key(), digest(), overlap).prop_map(|(by, key, secret, overlap_ms)| Ask::RotateKeyAlone { by, key, secret, overlap_ms });
    let revoke = (askers(), key()).prop_map(|(by, key)| Ask::RevokeKey { by, key });
    let code_key = askers().prop_map(|by| Ask::RotateCodeKey { by });
    prop_oneof![4 => create, 6 => rotate, 1 => alone, 1 => revoke, 1 => code_key]
}

fn actions() -> impl Strategy<Value = Action<'static>> {
    let settings = Keyring::any_settings(KeyringSettings {});
    let put = Action::Put { name: keyring::NAME, settings, precondition: Precondition::Always };
    let remove = Action::Remove { kind: domain::Kind::Keyring, name: keyring::NAME, precondition: Precondition::Always };
    prop_oneof![1 => Just(put), 1 => Just(remove), 12 => asks().prop_map(|ask| Action::of::<Keyring>(keyring::NAME, ask))]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_048) })]

    #[test]
    fn whatever_is_asked_of_the_keyring_is_decided_as_the_oracle_decides_it(asks in prop::collection::vec((actions(), 0..3_u64), 1..60)) {
        let (mut oracle, mut state, mut millis) = (Oracle::default(), State::new(SEED), 1);
        for (action, pause) in asks {
            millis += pause;
            let (command, at) = (Command::local(action), at(millis));
            let decided = decide(&state, &command, at);
            let expected = adapter::decided(oracle.take(&adapter::ask(&command), at));
            prop_assert_eq!(adapter::said(&decided), expected, "{:?}", command);
            if let Ok(Decision::Change(change)) = decided {
                let record = Record { at, actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, change };
                prop_assert!(state.fits(&record));
                state.evolve(&record);
                prop_assert_eq!(state.check(), Ok(()));
            }
            prop_assert_eq!(adapter::compare(&oracle, &state), Ok(()));
        }
        let again = rebuild(&sections(&state), SEED).unwrap();
        prop_assert_eq!(adapter::compare(&oracle, &again), Ok(()));
        prop_assert_eq!(sections(&again), sections(&state));
    }
}
