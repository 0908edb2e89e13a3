//! The rules for making and ending keys.

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn new<'a>(name: &'a str, scopes: &[Scope]) -> NewKey<'a> {
    NewKey { name, scopes: scopes.iter().copied().collect(), campaigns: "" }
}

/// A ring with the key `admin`, and what its holder sends.
fn with_admin() -> (KeyRing, String) {
    let (ring, secret) = KeyRing::default().with_created(&new("admin", &[Scope::Admin]), at(1)).unwrap();
    (ring, secret.key("admin"))
}

fn with_shop() -> (KeyRing, String) {
    let (ring, secret) = with_admin().0.with_created(&new("shop", &[Scope::Issue]), at(1)).unwrap();
    (ring, secret.key("shop"))
}

fn holder(ring: &KeyRing, presented: &str, now: u64) -> Option<String> {
    ring.authenticate(presented, at(now)).map(|key| key.name().to_owned())
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
        format!("firstcome_shop_{}", SecretDigest::of(secret).to_hex()),
    ] {
        assert_eq!(holder(&ring, &presented, 2), None, "{presented}");
    }
}

#[test]
fn the_first_key_is_an_admins() {
    let refused = |scopes: &[Scope]| KeyRing::default().with_created(&new("shop", scopes), at(1)).unwrap_err();
    assert_eq!(refused(&[Scope::Issue, Scope::Read]), KeyError::FirstNotAdmin);
    assert!(KeyRing::default().with_created(&new("shop", &[Scope::Admin, Scope::Read]), at(1)).is_ok());
}

#[test]
fn names_scopes_and_prefixes_are_checked() {
    let (ring, _) = with_admin();
    let refused = |new: NewKey<'_>| ring.with_created(&new, at(1)).unwrap_err();
    let long = "a".repeat(65);
    for name in ["", ".", "..", "a b", "a:b", "é", "local", "users", "engine", &long] {
        assert_eq!(refused(new(name, &[Scope::Read])), KeyError::Name, "{name}");
    }
    assert!(ring.with_created(&new(&long[1..], &[Scope::Read]), at(1)).is_ok());
    assert_eq!(refused(new("shop", &[])), KeyError::Scopes);
    assert_eq!(refused(NewKey { campaigns: "a b", ..new("shop", &[Scope::Read]) }), KeyError::Campaigns);
    assert_eq!(refused(NewKey { campaigns: "spring-", ..new("shop", &[Scope::Read, Scope::Admin]) }), KeyError::AdminLimited);
    for prefix in ["spring-", ".", ".."] {
        assert!(ring.with_created(&NewKey { campaigns: prefix, ..new("shop", &[Scope::Read]) }, at(1)).is_ok(), "{prefix}");
    }
}

#[test]
fn a_name_is_never_used_again() {
    let (ring, _) = with_shop();
    assert_eq!(ring.with_created(&new("shop", &[Scope::Read]), at(2)).unwrap_err(), KeyError::Exists);
    let (ring, _) = ring.with_revoked("shop", at(2)).unwrap();
    assert_eq!(ring.with_created(&new("shop", &[Scope::Read]), at(3)).unwrap_err(), KeyError::Exists);
}

#[test]
fn a_rotated_key_opens_with_the_old_secret_until_just_before_the_end_of_the_overlap() {
    let (ring, old) = with_shop();
    let (ring, secret) = ring.with_rotated("shop", Duration::from_millis(100), at(1_000)).unwrap();
    let newer = secret.key("shop");
    let opens = |presented: &str, now: u64| holder(&ring, presented, now).is_some();
    assert!(opens(&newer, 1_000) && opens(&newer, 2_000));
    assert!(opens(&old, 1_000) && opens(&old, 1_099));
    assert!(!opens(&old, 1_100));
    // A second rotation ends the first secret whatever was promised.
    let (ring, _) = ring.with_rotated("shop", Duration::from_millis(100), at(1_001)).unwrap();
    assert!(holder(&ring, &old, 1_002).is_none() && holder(&ring, &newer, 1_002).is_some());
}

#[test]
fn a_rotation_without_overlap_ends_the_old_secret_at_once() {
    let (ring, old) = with_shop();
    let (ring, secret) = ring.with_rotated("shop", Duration::ZERO, at(1_000)).unwrap();
    assert!(holder(&ring, &old, 1_000).is_none() && holder(&ring, &secret.key("shop"), 1_000).is_some());
    assert_eq!(ring.get("shop").unwrap().rotated_at, Some(at(1_000)));
    let too_long = OVERLAP_MAX + Duration::from_millis(1);
    assert_eq!(ring.with_rotated("shop", too_long, at(1)).unwrap_err(), KeyError::Overlap);
    assert!(ring.with_rotated("shop", OVERLAP_MAX, at(1)).is_ok());
}

#[test]
fn a_revoked_key_opens_nothing_with_either_secret_and_stays_revoked() {
    let (ring, old) = with_shop();
    let (ring, secret) = ring.with_rotated("shop", Duration::from_secs(10), at(1_000)).unwrap();
    let (ring, _) = ring.with_revoked("shop", at(1_001)).unwrap();
    assert!(holder(&ring, &old, 1_002).is_none() && holder(&ring, &secret.key("shop"), 1_002).is_none());
    let revoked = KeyError::Revoked { revoked_at: at(1_001) };
    assert_eq!(ring.with_revoked("shop", at(1_002)).unwrap_err(), revoked);
    assert_eq!(ring.with_rotated("shop", Duration::ZERO, at(1_002)).unwrap_err(), revoked);
    assert_eq!(ring.with_revoked("nobody", at(1_002)).unwrap_err(), KeyError::NotFound);
}

#[test]
fn the_last_admin_is_known() {
    let (ring, _) = with_shop();
    assert!(ring.is_last_admin("admin") && !ring.is_last_admin("shop") && !ring.is_last_admin("nobody"));
    let (ring, _) = ring.with_created(&new("second", &[Scope::Admin]), at(2)).unwrap();
    assert!(!ring.is_last_admin("admin") && !ring.is_last_admin("second"));
    let (ring, _) = ring.with_revoked("second", at(3)).unwrap();
    assert!(ring.is_last_admin("admin") && !ring.is_last_admin("second"));
}

#[test]
fn there_is_a_limit_to_keys() {
    let key = |number: usize| new(&format!("k{number}"), &[Scope::Admin]).read(SecretDigest::NONE, at(1)).unwrap();
    let ring = KeyRing::of(1, (0..KEYS_MAX).map(key));
    assert_eq!(ring.with_created(&new("more", &[Scope::Read]), at(2)).unwrap_err(), KeyError::TooMany);
}

#[test]
fn requests_in_flight_are_counted_on_over_a_change_of_keys() {
    let (before, _) = with_shop();
    let after = KeyRing::of(9, before.iter().map(|key| Key { in_flight: Arc::default(), ..Key::clone(key) })).with_counters_of(&before);
    for name in ["admin", "shop"] {
        assert!(Arc::ptr_eq(before.get(name).unwrap().in_flight(), after.get(name).unwrap().in_flight()));
    }
}
