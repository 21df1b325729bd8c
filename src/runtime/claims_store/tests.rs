//! Stores in directories of their own.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::*;
use crate::auth::claims::encode;
use crate::auth::nkey::{KeyKind, SigningKey};

const NOW: u64 = 1000;

/// A directory that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("skein-claims-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = vec![self.0.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let name = path.strip_prefix(&self.0).unwrap();
                    found.push(name.to_str().unwrap().to_owned());
                }
            }
        }
        found.sort_unstable();
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn account(number: u8) -> String {
    let key = SigningKey::from_seed(KeyKind::Account, &[number; 32]).unwrap();
    key.public().to_string()
}

fn token(number: u8, issued_at: u64, expires: u64) -> String {
    let operator = SigningKey::from_seed(KeyKind::Operator, &[1; 32]).unwrap();
    let claims = json!({"sub": account(number), "exp": expires,
        "nats": {"type": "account", "version": 2}});
    encode(claims.as_object().unwrap().clone(), issued_at, &operator)
}

fn full() -> Keeping {
    Keeping {
        cache: None,
        limit: None,
        deletion: Deletion::Rename,
        sharded: false,
    }
}

fn open(place: &Place, keeping: &Keeping) -> ClaimsStore {
    ClaimsStore::open(&place.0, keeping.clone(), NOW).unwrap()
}

#[test]
fn what_is_stored_is_there_after_a_start() {
    for sharded in [false, true] {
        let place = Place::new();
        let keeping = Keeping { sharded, ..full() };
        let mut store = open(&place, &keeping);
        let token_2 = token(2, 10, 0);
        assert!(store.save(&account(2), &token_2, NOW).unwrap());
        assert!(!store.save(&account(2), &token_2, NOW).unwrap());
        let key = account(2);
        let name = match sharded {
            false => format!("{key}.jwt"),
            true => format!("{}/{key}.jwt", &key[54..]),
        };
        assert_eq!(place.files(), [name.as_str()]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place.0.join(&name)), 0o600);
        assert_eq!(mode(&place.0), 0o700);
        let mut again = open(&place, &keeping);
        assert_eq!(again.keys(), [key.as_str()]);
        assert_eq!(again.hash(), store.hash());
        assert_eq!(again.load(&key, NOW).unwrap(), Some(token_2));
        assert_eq!(again.load(&account(3), NOW).unwrap(), None);
    }
}

#[test]
fn newer_claims_win() {
    let place = Place::new();
    let mut store = open(&place, &full());
    let (old, new) = (token(2, 10, 0), token(2, 20, 0));
    let key = account(2);
    assert!(store.save_if_newer(&key, &new, NOW).unwrap());
    assert!(!store.save_if_newer(&key, &old, NOW).unwrap());
    assert!(!store.save_if_newer(&key, &new, NOW).unwrap());
    assert_eq!(store.load(&key, NOW).unwrap().as_deref(), Some(&*new));
    // Whoever may, may go back.
    assert!(store.save(&key, &old, NOW).unwrap());
    assert!(store.save_if_newer(&key, &new, NOW).unwrap());
    assert_eq!(place.files().len(), 1);
}

#[test]
fn names_and_tokens_that_are_none() {
    let place = Place::new();
    let mut store = open(&place, &full());
    let good = token(2, 10, 0);
    let escaping = format!("../{}", &account(2)[3..]);
    for key in [
        "",
        "..",
        "/etc/passwd",
        &escaping,
        &account(2)[..55],
        &format!("{}\0", account(2)),
    ] {
        assert!(matches!(store.save(key, &good, NOW), Err(StoreError::Key)));
        assert!(matches!(
            store.save_if_newer(key, &good, NOW),
            Err(StoreError::Key)
        ));
        assert!(matches!(store.load(key, NOW), Err(StoreError::Key)));
        assert!(matches!(store.delete(key), Err(StoreError::Key)));
        let package = format!("{key}|{good}");
        assert!(store.merge(&package, NOW, |_, _| true).is_err());
    }
    for token in ["", "x", &token(3, 10, 0), &good[..good.len() - 2]] {
        assert!(matches!(
            store.save(&account(2), token, NOW),
            Err(StoreError::Token)
        ));
    }
    assert!(place.files().is_empty());
}

#[test]
fn garbage_is_ignored() {
    let place = Place::new();
    let mut store = open(&place, &full());
    store.save(&account(2), &token(2, 10, 0), NOW).unwrap();
    let hash = store.hash();
    let write = |name: &str, text: &str| fs::write(place.0.join(name), text).unwrap();
    write("README", "hello");
    write("x.jwt", &token(2, 10, 0));
    write(&format!("{}.jwt", account(3)), "no token");
    write(&format!("{}.jwt", account(4)), &token(2, 10, 0));
    write(&format!("{}.jwt.deleted", account(5)), &token(5, 10, 0));
    write(&format!("{}.7.tmp", account(6)), "half a tok");
    fs::write(place.0.join(format!("{}.jwt", account(7))), [0xff, 0xfe]).unwrap();
    fs::create_dir(place.0.join(format!("{}.jwt", account(8)))).unwrap();
    let large = "x".repeat(TOKEN_BYTES_MAX + 1);
    write(&format!("{}.jwt", account(9)), &large);
    let elsewhere = Place::new();
    fs::create_dir(&elsewhere.0).unwrap();
    let target = elsewhere.0.join("target");
    fs::write(&target, token(10, 10, 0)).unwrap();
    symlink(&target, place.0.join(format!("{}.jwt", account(10)))).unwrap();

    let mut store = open(&place, &full());
    assert_eq!(store.keys(), [account(2)]);
    assert_eq!(store.hash(), hash);
    assert!(!place.files().iter().any(|name| name.ends_with(".tmp")));
    for number in [3, 4, 5, 8, 9] {
        assert_eq!(store.load(&account(number), NOW).unwrap(), None, "{number}");
    }
    assert!(store.load(&account(10), NOW).is_err());
    // Garbage in the place of claims is replaced, a link itself and not what it leads to.
    assert!(
        store
            .save_if_newer(&account(3), &token(3, 5, 0), NOW)
            .unwrap()
    );
    assert!(
        store
            .save_if_newer(&account(10), &token(10, 5, 0), NOW)
            .is_err()
    );
    store.save(&account(10), &token(10, 20, 0), NOW).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), token(10, 10, 0));
    assert_eq!(
        store.load(&account(10), NOW).unwrap(),
        Some(token(10, 20, 0))
    );
}

#[test]
fn deletions() {
    for (deletion, left) in [
        (
            Deletion::Rename,
            vec![format!("{}.jwt.deleted", account(2))],
        ),
        (Deletion::Hard, Vec::new()),
    ] {
        let place = Place::new();
        let mut store = open(&place, &Keeping { deletion, ..full() });
        store.save(&account(2), &token(2, 10, 0), NOW).unwrap();
        assert!(store.delete(&account(2)).unwrap());
        assert!(!store.delete(&account(2)).unwrap());
        assert_eq!(place.files(), left);
        assert_eq!(store.hash(), [0; 32]);
        assert!(store.keys().is_empty());
    }
    let place = Place::new();
    let mut store = open(
        &place,
        &Keeping {
            deletion: Deletion::Never,
            ..full()
        },
    );
    store.save(&account(2), &token(2, 10, 0), NOW).unwrap();
    assert!(matches!(
        store.delete(&account(2)),
        Err(StoreError::NoDeletion)
    ));
}

#[test]
fn packages_make_stores_equal() {
    let (here, there) = (Place::new(), Place::new());
    let (mut one, mut two) = (open(&here, &full()), open(&there, &full()));
    for number in 2..7 {
        one.save(&account(number), &token(number, 10, 0), NOW)
            .unwrap();
    }
    one.save(&account(7), &token(7, 10, NOW - 1), NOW).unwrap();
    two.save(&account(2), &token(2, 20, 0), NOW).unwrap();
    let packages: Vec<String> = one.packages(2, NOW).collect();
    assert_eq!(packages.len(), 3);
    let mut changed = Vec::new();
    for package in &packages {
        let accept = |key: &str, _: &str| key != account(3);
        changed.extend(two.merge(&format!("\n{package}\n"), NOW, accept).unwrap());
    }
    let mut expected = vec![account(4), account(5), account(6)];
    expected.sort_unstable();
    assert_eq!(changed, expected);
    for package in one.packages(100, NOW) {
        two.merge(&package, NOW, |_, _| true).unwrap();
    }
    let back: Vec<String> = two.packages(1, NOW).collect();
    for package in back {
        one.merge(&package, NOW, |_, _| true).unwrap();
    }
    one.expire(NOW).unwrap();
    assert_eq!(one.hash(), two.hash());
    assert_eq!(one.keys().len(), 5);
    for wrong in ["x", "|", "a|b|c", &account(2)] {
        assert!(two.merge(wrong, NOW, |_, _| true).is_err(), "{wrong}");
    }
}

#[test]
fn limits_and_ends() {
    let place = Place::new();
    let mut store = open(
        &place,
        &Keeping {
            limit: Some(2),
            ..full()
        },
    );
    store
        .save(&account(2), &token(2, 10, NOW + 5), NOW)
        .unwrap();
    store.save(&account(3), &token(3, 10, 0), NOW).unwrap();
    assert!(matches!(
        store.save(&account(4), &token(4, 10, 0), NOW),
        Err(StoreError::Full)
    ));
    assert!(store.save(&account(3), &token(3, 11, 0), NOW).unwrap());
    assert!(store.expire(NOW + 4).unwrap().is_empty());
    assert_eq!(store.expire(NOW + 5).unwrap(), [account(2)]);
    assert!(store.save(&account(4), &token(4, 10, 0), NOW).unwrap());

    let place = Place::new();
    let cache = Keeping {
        cache: Some(Duration::from_secs(10)),
        limit: Some(2),
        deletion: Deletion::Hard,
        sharded: false,
    };
    let mut store = open(&place, &cache);
    store.save(&account(2), &token(2, 10, 0), NOW).unwrap();
    store.save(&account(3), &token(3, 10, 0), NOW).unwrap();
    store.load(&account(2), NOW + 5).unwrap();
    store.save(&account(4), &token(4, 10, 0), NOW + 5).unwrap();
    // The one that was not asked for went.
    assert_eq!(store.load(&account(3), NOW + 5).unwrap(), None);
    assert_eq!(store.keys().len(), 2);
    store.load(&account(4), NOW + 8).unwrap();
    assert_eq!(store.expire(NOW + 15).unwrap(), [account(2)]);
    assert_eq!(store.expire(NOW + 18).unwrap(), [account(4)]);
    assert!(place.files().is_empty());
}

#[test]
fn reload_says_what_changed() {
    let place = Place::new();
    let mut store = open(&place, &full());
    for number in 2..5 {
        store
            .save(&account(number), &token(number, 10, 0), NOW)
            .unwrap();
    }
    let write = |number: u8, text: String| {
        fs::write(place.0.join(format!("{}.jwt", account(number))), text).unwrap();
    };
    write(3, token(3, 11, 0));
    write(5, token(5, 11, 0));
    fs::remove_file(place.0.join(format!("{}.jwt", account(4)))).unwrap();
    let mut changed = store.reload(NOW).unwrap();
    changed.sort_unstable();
    let mut expected = vec![account(3), account(4), account(5)];
    expected.sort_unstable();
    assert_eq!(changed, expected);
    assert!(store.reload(NOW).unwrap().is_empty());
}
