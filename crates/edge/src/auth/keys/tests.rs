//! Authentication by keys of the keyring.

use domain::keyring::{Key as Kept, Overlap, Scope};

use super::*;
use crate::auth::secret::Secret;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn kept(secret: &Secret, scope: Scope) -> Kept {
    Kept {
        scopes: [scope].into_iter().collect(),
        campaigns: "".into(),
        created_at: at(1),
        rotated_at: None,
        revoked_at: None,
        secret: secret.digest(),
        overlaps: Vec::new(),
    }
}

/// A keyring with the keys `admin` and `shop`, and the credential that the holder of `shop` sends.
fn with_shop() -> (Ring, String) {
    let (admin, shop) = (Secret::new().unwrap(), Secret::new().unwrap());
    let keys = [("admin", kept(&admin, Scope::Admin)), ("shop", kept(&shop, Scope::Issue))];
    let ring = Ring { changes: 2, keys: keys.map(|(name, key)| (name.into(), key)).into_iter().collect(), ..Ring::default() };
    (ring, shop.key("shop"))
}

fn changed(ring: &Ring, change: impl FnOnce(&mut Kept)) -> Ring {
    let mut changed = ring.clone();
    changed.changes += 1;
    change(changed.keys.get_mut("shop").unwrap());
    changed
}

fn holder(ring: &Ring, presented: &str, now: u64) -> Option<String> {
    KeyRing::of(ring, &KeyRing::default()).authenticate(presented, at(now)).map(|key| key.name().to_owned())
}

#[test]
fn a_key_opens_with_its_own_secret_only() {
    let (ring, shop) = with_shop();
    assert_eq!(holder(&ring, &shop, 2).as_deref(), Some("shop"));
    let (name, secret) = parts_of(&shop).unwrap();
    let wrong = |place: usize| {
        let mut secret = secret.as_bytes().to_vec();
        secret[place] = if secret[place] == b'0' { b'1' } else { b'0' };
        format!("firstcome_{name}_{}", String::from_utf8(secret).unwrap())
    };
    let digest: String = ring.keys["shop"].secret.0.iter().map(|byte| format!("{byte:02x}")).collect();
    for presented in [
        wrong(0),
        wrong(63),
        shop[..shop.len() - 1].to_owned(),
        format!("{shop}0"),
        format!("firstcome_admin_{secret}"),
        format!("firstcome_nobody_{secret}"),
        format!("firstcome__{secret}"),
        format!("firstcome_{secret}"),
        secret.to_owned(),
        shop.to_uppercase(),
        "firstcome_shop_".to_owned(),
        String::new(),
        format!("firstcome_shop_{digest}"),
    ] {
        assert_eq!(holder(&ring, &presented, 2), None, "{presented}");
    }
}

#[test]
fn a_rotated_key_opens_with_the_old_secret_until_just_before_the_end_of_the_overlap() {
    let (ring, old) = with_shop();
    let newer = Secret::new().unwrap();
    let ring = changed(&ring, |key| {
        key.overlaps = vec![Overlap { secret: key.secret, until: at(1_100) }];
        key.secret = newer.digest();
    });
    let opens = |presented: &str, now: u64| holder(&ring, presented, now).is_some();
    assert!(opens(&newer.key("shop"), 1_000) && opens(&newer.key("shop"), 2_000));
    assert!(opens(&old, 1_000) && opens(&old, 1_099));
    assert!(!opens(&old, 1_100));
}

#[test]
fn a_revoked_key_opens_nothing() {
    let (ring, shop) = with_shop();
    assert_eq!(holder(&changed(&ring, |key| key.revoked_at = Some(at(5))), &shop, 5), None);
}

#[test]
fn whoever_was_let_in_is_let_in_again_as_long_as_the_secret_is_valid() {
    let (ring, shop) = with_shop();
    let now = KeyRing::of(&ring, &KeyRing::default());
    let caller = Caller::Key(now.authenticate(&shop, at(2)).unwrap());
    let accepts = |ring: &Ring| KeyRing::of(ring, &now).still_accepts(&caller, at(2));
    assert!(accepts(&ring));
    let newer = Secret::new().unwrap().digest();
    assert!(!accepts(&changed(&ring, |key| key.secret = newer)));
    assert!(accepts(&changed(&ring, |key| {
        key.overlaps = vec![Overlap { secret: key.secret, until: at(3) }];
        key.secret = newer;
    })));
    assert!(!accepts(&changed(&ring, |key| key.revoked_at = Some(at(2)))));
    assert!(!now.still_accepts(&Caller::Local, at(2)) && KeyRing::default().still_accepts(&Caller::Local, at(2)));
}

#[test]
fn requests_in_flight_are_counted_on_over_a_change_of_keys() {
    let (ring, _) = with_shop();
    let before = KeyRing::of(&ring, &KeyRing::default());
    let after = KeyRing::of(&changed(&ring, |key| key.rotated_at = Some(at(9))), &before);
    for name in ["admin", "shop"] {
        assert!(Arc::ptr_eq(before.get(name).unwrap().in_flight(), after.get(name).unwrap().in_flight()));
    }
}
