//! The file of keys.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;

const FORMAT_1: &str = include_str!("../../../tests/fixtures/keys-format-1.json");

fn at(text: &str) -> Timestamp {
    times::parse(text).unwrap()
}

fn create(file: &KeyFile, name: &str) -> Result<IssuedKey, ChangeError> {
    let new = NewKey { name, scopes: [Scope::Admin].into_iter().collect(), campaigns: "" };
    let created = file.change(|ring| IssuedKey::created(ring, &new, at("2026-01-30T08:00:00Z")));
    created.map(|(_, shown)| shown)
}

fn folder_with(text: &str) -> (tempfile::TempDir, KeyFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_folder(folder.path());
    fs::write(file.path(), text).unwrap();
    (folder, file)
}

/// In this fixture the secrets are `foo`, `bar` and, before its rotation, `baz`.
#[test]
fn format_1_is_read_and_written_as_it_was() {
    let (_folder, file) = folder_with(FORMAT_1);
    let ring = file.read().unwrap();
    let holder = |key: &str, now: &str| ring.authenticate(key, at(now)).map(|key| key.name().to_owned());
    assert_eq!(holder("firstcome_shop_bar", "2026-03-01T00:00:00Z").as_deref(), Some("shop"));
    assert_eq!(holder("firstcome_shop_baz", "2026-01-31T08:59:59.999Z").as_deref(), Some("shop"));
    assert_eq!(holder("firstcome_shop_baz", "2026-01-31T09:00:00Z"), None);
    assert_eq!(holder("firstcome_admin_foo", "2026-03-01T00:00:00Z"), None);
    assert_eq!(ring.get("shop").unwrap().campaigns, "spring-");
    assert_eq!(String::from_utf8(text_of(&ring)).unwrap(), FORMAT_1);
}

#[test]
fn what_is_not_as_it_was_written_is_refused_and_says_what() {
    let refused = |text: &str| folder_with(text).1.read().unwrap_err().to_string();
    assert!(refused("").contains("keys.json is damaged"));
    assert!(refused(&FORMAT_1.replace("\"format\": 1", "\"format\": 2")).contains("format 2"));
    assert!(refused(&FORMAT_1.replace("\"admin\"\n", "\"everything\"\n")).contains("scope"));
    assert!(refused(&FORMAT_1.replace("2c26", "2C26")).contains("secret_sha256"));
    assert!(refused(&FORMAT_1.replace("\"key\": \"shop\"", "\"key\": \"admin\"")).contains("same name"));
    assert!(refused(&FORMAT_1.replace("\"overlap\": null", "\"overlap\": null, \"more\": 1")).contains("more"));
    assert!(refused(&FORMAT_1.replace("2026-01-31T09:00:00.000Z", "soon")).contains("time"));
    // What a message tells, it does not tell with a digest.
    assert!(!refused(&FORMAT_1.replace("2c26b", "xyz-b")).contains("46b68ffc68ff"));
}

#[test]
fn it_is_made_for_its_owner_only_and_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_folder(folder.path());
    assert!(file.read().unwrap().is_empty() && file.stamp().is_none());
    let shown = create(&file, "admin").unwrap();
    let secret = shown.secret.rsplit('_').next().unwrap().to_owned();
    assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(file.path()).unwrap().contains(&secret[..16]));
    assert_eq!(file.read().unwrap().authenticate(&shown.secret, at("2026-02-01T00:00:00Z")).unwrap().name(), "admin");
}

#[test]
fn a_refused_change_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_folder(folder.path());
    create(&file, "admin").unwrap();
    let (before, stamp) = (fs::read(file.path()).unwrap(), file.stamp());
    assert!(matches!(create(&file, "admin"), Err(ChangeError::Key(KeyError::Exists))));
    assert_eq!((fs::read(file.path()).unwrap(), file.stamp()), (before, stamp));
}

#[test]
fn changes_at_once_are_all_there_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let file = KeyFile::in_folder(folder.path());
            scope.spawn(move || (0..8).for_each(|number| drop(create(&file, &format!("k{thread}-{number}")).unwrap())));
        }
    });
    let ring = KeyFile::in_folder(folder.path()).read().unwrap();
    assert_eq!((ring.iter().count(), ring.revision()), (32, 32));
}

#[test]
fn every_change_has_another_stamp() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_folder(folder.path());
    create(&file, "admin").unwrap();
    let mut stamps = vec![file.stamp().unwrap()];
    for _ in 0..50 {
        // The same number of bytes each time, as fast as can be.
        let rotate = |ring: &KeyRing| ring.with_rotated("admin", Duration::ZERO, at("2026-01-30T08:00:00Z"));
        file.change(rotate).unwrap();
        let stamp = file.stamp().unwrap();
        assert_ne!(stamps.last(), Some(&stamp));
        stamps.push(stamp);
    }
}

/// A power loss between the two files of the first key.
#[test]
fn keys_without_their_mark_work_and_get_it_with_the_next_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_folder(folder.path());
    create(&file, "admin").unwrap();
    let mark = folder.path().join(MADE_NAME);
    fs::remove_file(&mark).unwrap();
    assert!(file.read().unwrap().has_live());
    create(&file, "second").unwrap();
    assert!(mark.exists());
    fs::remove_file(file.path()).unwrap();
    assert!(matches!(file.read(), Err(KeyFileError::Missing(_))));
}

/// The disk fills up between the two files: the key is in use, so that its secret must be shown.
#[test]
fn a_change_that_is_written_succeeds_though_the_mark_finds_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_folder(folder.path());
    let blocked = folder.path().join(format!("{MADE_NAME}.new"));
    fs::create_dir(&blocked).unwrap();
    let holder =
        |shown: &IssuedKey| file.read().unwrap().authenticate(&shown.secret, at("2026-02-01T00:00:00Z")).map(|key| key.name().to_owned());
    let created = create(&file, "admin").unwrap();
    assert_eq!(holder(&created).as_deref(), Some("admin"));
    let rotated = file.change(|ring| IssuedKey::rotated(ring, "admin", Duration::ZERO, at("2026-01-31T08:00:00Z"))).unwrap().1;
    assert_eq!((holder(&created), holder(&rotated).as_deref()), (None, Some("admin")));
    file.change(|ring| ring.with_revoked("admin", at("2026-01-31T09:00:00Z"))).unwrap();
    assert_eq!(holder(&rotated), None);
    fs::remove_dir(&blocked).unwrap();
    create(&file, "second").unwrap();
    assert!(folder.path().join(MADE_NAME).exists());
}

#[test]
fn a_change_that_cannot_be_written_changes_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile::in_folder(folder.path());
    let created = create(&file, "admin").unwrap();
    let before = fs::read(file.path()).unwrap();
    let rotate = |ring: &KeyRing| IssuedKey::rotated(ring, "admin", Duration::ZERO, at("2026-01-31T08:00:00Z"));
    let unfinished = folder.path().join(format!("{NAME}.new"));
    fs::create_dir(&unfinished).unwrap();
    assert!(matches!(file.change(rotate), Err(ChangeError::File(KeyFileError::Io { .. }))));
    assert_eq!(fs::read(file.path()).unwrap(), before);
    assert!(file.read().unwrap().authenticate(&created.secret, at("2026-02-01T00:00:00Z")).is_some());
    fs::remove_dir(&unfinished).unwrap();
    file.change(rotate).unwrap();
    assert!(!unfinished.exists());
}
