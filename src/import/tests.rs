//! Stores in memory, made of files that nats-server has written.

use std::collections::BTreeMap;

use super::*;
use crate::base::prng::Prng;
use crate::jetstream::snapshot::samples as plain;
use crate::store::Stored;

/// Files by path.
#[derive(Clone, Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Source for Files {
    fn list(&mut self, folder: &str) -> Result<Option<Vec<String>>, String> {
        let prefix = match folder {
            "" => String::new(),
            _ => format!("{folder}/"),
        };
        let below = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut names: Vec<String> = below
            .filter_map(|path| path.split('/').next())
            .map(str::to_owned)
            .collect();
        names.dedup();
        Ok((!names.is_empty()).then_some(names))
    }

    fn read(&mut self, file: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, String> {
        match self.0.get(file) {
            Some(content) if content.len() > max_bytes => Err("is too long".to_owned()),
            content => Ok(content.cloned()),
        }
    }
}

impl Files {
    fn put(&mut self, path: &str, sample: &str) {
        self.0.insert(path.to_owned(), plain::bytes(sample));
    }
}

/// The stream of the samples.
fn sample() -> Files {
    let mut files = Files::default();
    for (path, sample) in [
        ("meta.inf", plain::META),
        ("meta.sum", plain::META_SUM),
        ("msgs/1.blk", plain::BLOCK),
        ("msgs/index.db", plain::INDEX),
        ("obs/c/meta.inf", plain::CONSUMER_META),
        ("obs/c/meta.sum", plain::CONSUMER_META_SUM),
        ("obs/c/o.dat", plain::CONSUMER_STATE),
    ] {
        files.put(&format!("$G/streams/S/{path}"), sample);
    }
    files
}

/// The stream with which a cipher was recorded.
fn encrypted(with: [&str; 6]) -> Files {
    let mut files = Files::default();
    let names = [
        "meta.key",
        "meta.inf",
        "meta.sum",
        "msgs/2.key",
        "msgs/2.blk",
        "msgs/index.db",
    ];
    for (name, sample) in names.into_iter().zip(with) {
        files.put(&format!("$G/streams/late/{name}"), sample);
    }
    files
}

fn chacha() -> Files {
    encrypted([
        samples::CHACHA_META_KEY,
        samples::CHACHA_META,
        samples::CHACHA_META_SUM,
        samples::CHACHA_BLOCK_KEY,
        samples::CHACHA_BLOCK,
        samples::CHACHA_INDEX,
    ])
}

fn aes() -> Files {
    encrypted([
        samples::AES_META_KEY,
        samples::AES_META,
        samples::AES_META_SUM,
        samples::AES_BLOCK_KEY,
        samples::AES_BLOCK,
        samples::AES_INDEX,
    ])
}

/// What was read of the only stream.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    messages: Vec<(u64, String)>,
    consumers: usize,
    is_index_valid: bool,
    torn: Option<String>,
    last_seq: u64,
    tally: Tally,
    faults: Vec<String>,
}

fn see(files: &Files, keys: &[&str]) -> Result<Seen, String> {
    let mut files = files.clone();
    let before = files.0.clone();
    let keys = Keys::new(keys.iter().map(|&key| key.to_owned()));
    let (places, _) = streams(&mut files).map_err(|fault| fault.to_string())?;
    let place = places.into_iter().next().ok_or("there is no stream")?;
    let stream = Stream::open(&mut files, &keys, place);
    let mut stream = stream.map_err(|fault| fault.to_string())?;
    let mut seen = Seen {
        consumers: stream.consumers().map_err(|fault| fault.to_string())?.len(),
        is_index_valid: stream.is_index_valid(),
        torn: stream.torn().map(Fault::to_string),
        last_seq: stream.last().0,
        ..Seen::default()
    };
    let mut note = |message: &Stored<'_>| {
        let text = String::from_utf8_lossy(message.payload).into_owned();
        seen.messages.push((message.seq, text));
        Ok::<_, ()>(())
    };
    while stream.next_block(&mut note).expect("it is noted") {}
    let (tally, faults) = stream.finish();
    seen.tally = tally;
    seen.faults = faults.iter().map(Fault::to_string).collect();
    assert!(files.0 == before);
    Ok(seen)
}

fn whole() -> Seen {
    let payload = |seq| (seq, format!("payload {seq}"));
    Seen {
        messages: [1, 3, 4, 6, 7].map(payload).to_vec(),
        consumers: 1,
        is_index_valid: true,
        torn: None,
        last_seq: 7,
        tally: Tally {
            messages: 5,
            bytes: 254,
            first_seq: 1,
            last_seq: 7,
            last_time: 1_795_268_888_756_443_111,
        },
        faults: Vec::new(),
    }
}

#[test]
fn a_stream_is_read() {
    assert_eq!(see(&sample(), &[]), Ok(whole()));
    // Folders with a dot in front are being deleted; what clusters leave is noticed.
    let mut files = sample();
    files.put("$G/streams/.gone/meta.inf", plain::META);
    files.put("$SYS/_js_/_meta_/msgs/1.blk", plain::BLOCK);
    assert_eq!(see(&files, &[]), Ok(whole()));
    let (places, is_clustered) = streams(&mut files).expect("it can be listed");
    assert_eq!((places.len(), is_clustered), (1, true));
    assert!(!streams(&mut sample()).expect("it can be listed").1);
    assert_eq!(
        see(&Files::default(), &[]),
        Err("there is no stream".to_owned())
    );
}

#[test]
fn without_its_index_a_stream_is_read_by_its_tombstones() {
    let expected = Seen {
        is_index_valid: false,
        ..whole()
    };
    const INDEX: &str = "$G/streams/S/msgs/index.db";
    const BLOCK: &str = "$G/streams/S/msgs/1.blk";
    let mut files = sample();
    files.0.remove(INDEX);
    assert_eq!(see(&files, &[]).as_ref(), Ok(&expected));

    // A record that was not finished is no fault: the server was killed.
    let mut torn = files.clone();
    torn.0
        .get_mut(BLOCK)
        .expect("it is there")
        .extend_from_slice(&[50, 0, 0, 0, 8, 0, 0]);
    let torn_at = |what: &str| Seen {
        torn: Some(format!("{BLOCK}: {what} at offset 398")),
        messages: expected.messages.clone(),
        faults: Vec::new(),
        ..expected
    };
    let cut = torn_at("record cut short");
    assert_eq!(see(&torn, &[]).as_ref(), Ok(&cut));
    let mut unwritten = files.clone();
    unwritten
        .0
        .get_mut(BLOCK)
        .expect("it is there")
        .extend_from_slice(&[0; 4096]);
    assert_eq!(
        see(&unwritten, &[]),
        Ok(torn_at("record of an impossible length"))
    );
    let mut bad = files.clone();
    bad.0
        .get_mut(BLOCK)
        .expect("it is there")
        .extend_from_slice(&[9; 4096]);
    let seen = see(&bad, &[]).expect("it is read");
    assert_eq!(seen.messages, expected.messages);
    assert_eq!(
        seen.faults,
        [format!(
            "{BLOCK}: record of an impossible length at offset 398"
        )]
    );

    // The same if there is an index of before.
    let mut stale = torn.clone();
    stale.put(INDEX, plain::INDEX);
    assert_eq!(see(&stale, &[]).as_ref(), Ok(&cut));
    let mut other_block = files.clone();
    other_block.put(INDEX, plain::INDEX);
    other_block
        .0
        .insert("$G/streams/S/msgs/2.blk".into(), Vec::new());
    assert_eq!(see(&other_block, &[]).as_ref(), Ok(&expected));
}

#[test]
fn a_purge_that_was_not_finished_is_finished() {
    let mut files = sample();
    let folder = "$G/streams/S";
    let mut begun = files.clone();
    begun
        .0
        .insert(format!("{folder}/__new_msgs__/1.key"), Vec::new());
    let seen = see(&begun, &[]).expect("it is read");
    assert_eq!((seen.tally.messages, seen.faults.len()), (0, 1));
    files.put(&format!("{folder}/__new_msgs__/1.blk"), plain::BLOCK);
    files.0.insert(format!("{folder}/msgs/2.blk"), vec![1; 100]);
    let seen = see(&files, &[]).expect("it is read");
    assert_eq!((seen.tally.messages, seen.faults.len()), (5, 0));
}

#[test]
fn what_is_wrong_is_said_with_its_file() {
    let folder = "$G/streams/S";
    let without = |file: &str| {
        let mut files = sample();
        files
            .0
            .remove(&format!("{folder}/{file}"))
            .expect("it is there");
        see(&files, &[])
    };
    assert_eq!(
        without("meta.sum"),
        Err(format!("{folder}/meta.sum: is not there"))
    );
    let seen = without("obs/c/meta.inf").expect("it is read");
    assert_eq!(
        (seen.consumers, seen.faults),
        (0, vec![format!("{folder}/obs/c/meta.inf: is not there")])
    );
    let seen = without("obs/c/o.dat").expect("it is read");
    assert_eq!((seen.consumers, seen.faults.len()), (1, 0));
    // The index names a block that is not there.
    let seen = without("msgs/1.blk").expect("it is read");
    assert_eq!(
        (seen.is_index_valid, seen.tally.messages, seen.last_seq),
        (false, 0, 7)
    );
    let lost = "says 7 sequences were given out, but blocks end with 0";
    assert_eq!(seen.faults, [format!("{folder}/msgs/index.db: {lost}")]);
    // Tombstones may be missing at the end of a block; the index has seen them.
    let mut cut = sample();
    let block = cut
        .0
        .get_mut(&format!("{folder}/msgs/1.blk"))
        .expect("it is there");
    block.truncate(block.len() - 60);
    let seen = see(&cut, &[]).expect("it is read");
    assert_eq!(
        (seen.messages, seen.is_index_valid),
        (whole().messages, false)
    );

    let mut old = sample();
    old.0.insert(format!("{folder}/msgs/1.idx"), Vec::new());
    assert!(see(&old, &[]).is_err_and(|why| why.contains("before 2.10")));

    let mut bad = sample();
    let block = bad
        .0
        .get_mut(&format!("{folder}/msgs/1.blk"))
        .expect("it is there");
    block[60] ^= 1;
    let faults = see(&bad, &[]).expect("it is read").faults;
    let expected = [
        "/msgs/1.blk: record with a wrong checksum at offset 42",
        "/msgs/index.db: says 5 messages, but there are 1",
        "/msgs/index.db: says 254 bytes, but there are 42",
    ];
    assert_eq!(faults, expected.map(|fault| format!("{folder}{fault}")));
}

#[test]
fn both_ciphers_are_undone() {
    for (files, key) in [(chacha(), "secret one"), (aes(), "secret two")] {
        for keys in [&[key][..], &["another", key]] {
            let seen = see(&files, keys).expect("it is read");
            assert_eq!(seen.messages, [(1000, "first".to_owned())]);
            assert!(seen.is_index_valid && seen.faults.is_empty());
        }
        let file = "$G/streams/late/meta.key";
        let wrong = format!("{file}: cannot be opened with the key that is given");
        assert_eq!(see(&files, &["another"]), Err(wrong));
        let none = format!("{file}: is encrypted, and no key is given");
        assert_eq!(see(&files, &[""]), Err(none));
        let mut without = files.clone();
        without.put("$G/streams/late/msgs/2.key", samples::CHACHA_META_KEY);
        let seen = see(&without, &[key]).expect("it is read");
        let wrong = "$G/streams/late/msgs/2.key: cannot be opened with the key that is given";
        assert!(seen.faults.contains(&wrong.to_owned()), "{:?}", seen.faults);
    }
}

#[test]
fn damage_anywhere_is_a_fault() {
    let mut random = Prng::new(4);
    for (files, keys) in [
        (sample(), vec![]),
        (chacha(), vec!["secret one"]),
        (aes(), vec!["secret two"]),
    ] {
        let whole = see(&files, &keys).expect("it is read");
        assert!(whole.faults.is_empty());
        for _ in 0..800 {
            let mut bad = files.clone();
            let paths: Vec<String> = bad.0.keys().cloned().collect();
            let path = &paths[random.below(paths.len() as u32) as usize];
            let content = bad.0.get_mut(path).expect("it is there");
            let at = random.below(content.len() as u32) as usize;
            let is_cut = random.one_in(3);
            match is_cut {
                true => content.truncate(at),
                false => content[at] ^= 1 << random.below(8),
            }
            let Ok(seen) = see(&bad, &keys) else {
                continue;
            };
            // A consumer's state has no checksum, nor have the lengths in a record; and a block that is cut
            // between records is one, without the index's word for it.
            let is_unprotected = path.ends_with("o.dat") || path.ends_with(".blk");
            let is_said = !seen.faults.is_empty() || seen.torn.is_some();
            assert!(is_said || is_unprotected, "{path} at {at}");
            assert!(seen.messages.len() <= whole.messages.len());
        }
    }
}
