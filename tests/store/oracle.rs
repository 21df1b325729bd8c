//! What a store must still know after a crash: a model of what was asked of it, with positions.

use std::collections::{BTreeMap, BTreeSet};

use skein::store::{
    Fetched, Messages, NewMessage, Selection, Seq, StreamNumber, StreamOptions, counted_bytes,
};

use crate::report::Report;
use crate::shell::Shell;

/// No message takes less on the disk.
const RECORD_BYTES_MIN: usize = 36;

/// A message that was appended.
#[derive(Clone, Debug)]
pub struct Appended {
    pub subject: Vec<u8>,
    pub headers: Vec<u8>,
    pub payload: Vec<u8>,
    pub time: i64,
    at: u64,
    removed_at: Option<u64>,
}

/// What something was, and since which position.
type History<T> = Vec<(u64, T)>;

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub key: Vec<u8>,
    created_at: u64,
    deleted_at: Option<u64>,
    meta: History<Vec<u8>>,
    pub messages: BTreeMap<Seq, Appended>,
    last: History<Seq>,
    notes: BTreeMap<u32, History<Vec<Vec<u8>>>>,
    /// Its messages may be shorter on the disk.
    is_compressed: bool,
}

/// All streams, and what the store has said is durable.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    pub streams: BTreeMap<StreamNumber, Model>,
    durable: u64,
    /// What was found out not to be there may be so: the disk has lied.
    pub is_lenient: bool,
    /// What was said when it was opened the last time: what is damaged is said each time.
    said: BTreeSet<String>,
}

/// Whether what is now could be: it was so at some time, not before what was so at `durable`.
fn could_be<T: PartialEq>(history: &History<T>, durable: u64, now: Option<&T>, empty: &T) -> bool {
    let from = history.iter().rposition(|(at, _)| *at <= durable);
    let possible = history[from.unwrap_or(0)..].iter().map(|(_, value)| value);
    let nothing = from.is_none();
    let now = now.unwrap_or(empty);
    possible.into_iter().any(|value| value == now) || nothing && now == empty
}

impl Oracle {
    pub fn live(&self) -> Vec<StreamNumber> {
        let live = self
            .streams
            .iter()
            .filter(|(_, model)| model.deleted_at.is_none());
        live.map(|(&number, _)| number).collect()
    }

    /// Remembers what the store says is durable.
    pub fn observe(&mut self, shell: &Shell) {
        assert!(shell.store.durable() <= shell.store.position());
        self.durable = self.durable.max(shell.store.durable());
    }

    pub fn create(&mut self, shell: &mut Shell, key: &[u8], options: StreamOptions) {
        if let Ok(number) = shell.store.create_stream(key, b"first", options) {
            let at = shell.store.position();
            let model = Model {
                key: key.to_vec(),
                created_at: at,
                meta: vec![(at, b"first".to_vec())],
                is_compressed: options.compress,
                ..Model::default()
            };
            assert!(
                self.streams.insert(number, model).is_none(),
                "{number:?} is given again"
            );
        }
    }

    pub fn set_meta(&mut self, shell: &mut Shell, number: StreamNumber, meta: &[u8]) {
        if shell.store.set_meta(number, meta, true).is_ok() {
            let at = shell.store.position();
            let model = self.streams.get_mut(&number).expect("known");
            model.meta.push((at, meta.to_vec()));
            model.is_compressed = true;
        }
    }

    pub fn delete(&mut self, shell: &mut Shell, number: StreamNumber) {
        assert!(shell.store.delete_stream(number));
        let at = shell.store.position();
        self.streams.get_mut(&number).expect("known").deleted_at = Some(at);
    }

    pub fn append(
        &mut self,
        shell: &mut Shell,
        number: StreamNumber,
        message: &NewMessage<'_>,
    ) -> bool {
        let appended = shell.store.stream(number).expect("known").append(message);
        let Ok(seq) = appended else {
            return false;
        };
        let at = shell.store.position();
        let model = self.streams.get_mut(&number).expect("known");
        assert_eq!(seq, model.last.last().map_or(0, |last| last.1) + 1);
        model.last.push((at, seq));
        let appended = Appended {
            subject: message.subject.to_vec(),
            headers: message.headers.to_vec(),
            payload: message.payload.to_vec(),
            time: message.time,
            at,
            removed_at: None,
        };
        model.messages.insert(seq, appended);
        true
    }

    pub fn skip(&mut self, shell: &mut Shell, number: StreamNumber, by: u64) {
        let model = self.streams.get_mut(&number).expect("known");
        let last = model.last.last().map_or(0, |last| last.1) + by;
        if shell
            .store
            .stream(number)
            .expect("known")
            .skip_to(last, 5)
            .is_ok()
        {
            model.last.push((shell.store.position(), last));
        }
    }

    pub fn remove(&mut self, shell: &mut Shell, number: StreamNumber, seq: Seq, erase: bool) {
        let was_there = shell
            .store
            .stream(number)
            .expect("known")
            .remove(seq, erase);
        let at = shell.store.position();
        let model = self.streams.get_mut(&number).expect("known");
        match model.messages.get_mut(&seq) {
            Some(message) if message.removed_at.is_none() => {
                assert!(was_there, "{seq} should be there");
                message.removed_at = Some(at);
            }
            _ => assert!(!was_there || self.is_lenient, "{seq} should not be there"),
        }
    }

    pub fn purge(
        &mut self,
        shell: &mut Shell,
        number: StreamNumber,
        subject: Option<&str>,
        below: Seq,
        keep: u64,
    ) {
        let selected = |message: &Appended| {
            subject.is_none_or(|subject| message.subject == subject.as_bytes())
        };
        let mut selection = match subject {
            Some(subject) => Selection::of(&[subject]),
            None => Selection::everything(),
        };
        let purged = shell
            .store
            .stream(number)
            .expect("known")
            .purge(&mut selection, below, keep);
        let at = shell.store.position();
        let model = self.streams.get_mut(&number).expect("known");
        let there = model.messages.iter_mut();
        let mut going: Vec<&mut Appended> = there
            .filter(|(seq, message)| {
                **seq < below && message.removed_at.is_none() && selected(message)
            })
            .map(|(_, message)| message)
            .collect();
        let kept = going.len().saturating_sub(keep as usize);
        going.truncate(kept);
        assert!(
            purged == going.len() as u64 || self.is_lenient,
            "{purged} were purged, {} should be",
            going.len()
        );
        for message in going {
            message.removed_at = Some(at);
        }
        if self.is_lenient {
            // Damaged messages, which are not known here, count among those that are kept.
            let stream = shell.store.stream(number).expect("known");
            for (&seq, message) in &mut model.messages {
                match (stream.time_of(seq), message.removed_at) {
                    (None, None) => message.removed_at = Some(at),
                    (Some(_), Some(removed)) if removed == at => message.removed_at = None,
                    _ => {}
                }
            }
        }
        let is_empty = model
            .messages
            .values()
            .all(|message| message.removed_at.is_some());
        let last = model.last.last().map_or(0, |last| last.1);
        if subject.is_none() && is_empty && below != Seq::MAX && below.saturating_sub(1) > last {
            model.last.push((at, below - 1));
        }
    }

    pub fn note(
        &mut self,
        shell: &mut Shell,
        number: StreamNumber,
        note: u32,
        fact: Option<&[u8]>,
        rewrite: bool,
    ) {
        let mut stream = shell.store.stream(number).expect("known");
        let done = match fact {
            Some(fact) if rewrite => stream.rewrite_note(note, fact),
            Some(fact) => stream.note(note, fact),
            None => {
                stream.forget_note(note);
                Ok(())
            }
        };
        if done.is_ok() {
            let at = shell.store.position();
            let history = self
                .streams
                .get_mut(&number)
                .expect("known")
                .notes
                .entry(note)
                .or_default();
            let mut facts = match history.last() {
                Some((_, facts)) if !rewrite && fact.is_some() => facts.clone(),
                _ => Vec::new(),
            };
            facts.extend(fact.map(<[u8]>::to_vec));
            history.push((at, facts));
        }
    }

    /// Reads one, and compares if it could be read at once.
    pub fn look(&mut self, shell: &mut Shell, number: StreamNumber, seq: Seq) {
        let model = &self.streams[&number];
        let expected = model
            .messages
            .get(&seq)
            .filter(|message| message.removed_at.is_none());
        let mut stream = shell.store.stream(number).expect("known");
        match (stream.get(seq), expected) {
            (Fetched::Gone, None) | (Fetched::Later, Some(_)) => {}
            (Fetched::Here(got), Some(expected)) => {
                assert_eq!(got.subject, expected.subject);
                assert_eq!(got.headers, expected.headers);
                assert_eq!(got.payload, expected.payload);
                assert_eq!(got.time, expected.time);
            }
            (_, None) if self.is_lenient => {}
            (Fetched::Damaged, Some(_)) if !shell.disk.lies.is_empty() => {}
            (got, expected) => panic!("{seq}: {got:?}, but expected {expected:?}"),
        }
    }

    /// Compares with what a store that was opened anew knows, and goes on from there.
    pub fn check(&mut self, shell: &mut Shell) {
        let log: BTreeSet<String> = shell.log().into_iter().collect();
        let durable = self.durable;
        if !self.is_lenient {
            assert_eq!(log, BTreeSet::new());
        }
        let report = Report::of(log.difference(&self.said));
        for (file, from, to) in &report.damages {
            let done = shell.disk.lies.iter().filter(|(name, ..)| name == file);
            let mut lies = done.clone();
            assert!(
                lies.any(|(_, at, bytes)| at < to && at + bytes > *from),
                "nothing was done to {file} from {from} to {to}, but to {:?}; said was {log:?}",
                done.collect::<Vec<_>>()
            );
        }
        self.said = log;
        let lenient = report.is_of_loss();
        let mut unreported = Vec::new();
        let mut unreadable = Vec::new();
        let mut found: Vec<StreamNumber> = shell.store.streams().collect();
        found.sort();
        for number in &found {
            let known = self.streams.contains_key(number);
            assert!(known || self.is_lenient, "{number:?} was never made");
        }
        for (&number, model) in &mut self.streams {
            let is_there = found.contains(&number);
            let deleted = model.deleted_at.is_some_and(|at| at <= durable);
            assert!(!(deleted && is_there) || lenient, "{number:?} was deleted");
            let must_be = model.created_at <= durable && model.deleted_at.is_none();
            assert!(is_there || !must_be || lenient, "{number:?} is lost");
            if !is_there {
                continue;
            }
            let key = shell.store.key(number).expect("it is there").to_vec();
            assert!(key == model.key || lenient, "{number:?}: key {key:?}");
            let meta = shell.store.meta(number).expect("it is there").to_vec();
            assert!(
                lenient || could_be(&model.meta, durable, Some(&meta), &Vec::new()),
                "{number:?}: meta {meta:?}, {:?}",
                model.meta
            );
            let mut notes: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
            shell.store.notes(number, &mut |note, fact| {
                notes.entry(note).or_default().push(fact.to_vec())
            });
            for (note, history) in &model.notes {
                let now = notes.get(note);
                assert!(
                    lenient || could_be(history, durable, now, &Vec::new()),
                    "{number:?}: note {note} is {now:?}, was {history:?}, {durable} durable"
                );
            }
            assert!(lenient || notes.keys().all(|note| model.notes.contains_key(note)));
            let state = *shell.store.stream(number).expect("it is there").state();
            let at_durable = model
                .last
                .iter()
                .rfind(|(at, _)| *at <= durable)
                .map_or(0, |last| last.1);
            let last = model.last.last().map_or(0, |last| last.1);
            assert!(
                state.last_seq <= last && (state.last_seq >= at_durable || lenient),
                "{number:?}: last is {}, was {at_durable} to {last}",
                state.last_seq
            );
            let (mut count, mut bytes) = (0, 0);
            let mut missing = None;
            let mut remaining = BTreeMap::new();
            for (&seq, message) in &model.messages {
                let got = shell.try_get(number, seq);
                match got {
                    Ok(Some((subject, body))) => {
                        assert!(
                            missing.is_none() || lenient,
                            "{number:?}: {missing:?} is lost, but not {seq}"
                        );
                        let removed = message.removed_at.is_some_and(|at| at <= durable);
                        assert!(
                            !removed || lenient,
                            "{number:?}: {seq} was removed at {:?}",
                            message.removed_at
                        );
                        assert_eq!(subject, message.subject, "{number:?}: {seq}");
                        assert!(
                            body == [&message.headers[..], &message.payload].concat(),
                            "{number:?}: {seq}"
                        );
                        count += 1;
                        bytes += counted_bytes(
                            subject.len(),
                            message.headers.len(),
                            message.payload.len(),
                            true,
                        );
                        remaining.insert(
                            seq,
                            Appended {
                                at: 0,
                                removed_at: None,
                                ..message.clone()
                            },
                        );
                    }
                    Ok(None) => {
                        if message.removed_at.is_none() {
                            // A stream may be back whose deletion is lost.
                            let is_missed = message.at <= durable && !deleted;
                            if is_missed && !report.covers(&key, seq) {
                                assert!(lenient, "{number:?}: {seq} is lost");
                                let bytes = match model.is_compressed {
                                    true => 0,
                                    false => message.headers.len() + message.payload.len(),
                                };
                                let bytes = RECORD_BYTES_MIN + message.subject.len() + bytes;
                                unreported.push((number, seq, bytes));
                            }
                            missing = Some(seq);
                        }
                    }
                    Err(()) => {
                        assert!(self.is_lenient, "{number:?}: {seq} is damaged");
                        unreadable.push((key.clone(), seq));
                        count += 1;
                        bytes += counted_bytes(
                            message.subject.len(),
                            message.headers.len(),
                            message.payload.len(),
                            true,
                        );
                    }
                }
            }
            // What was removed earlier may be back.
            assert!(
                state.messages == count || self.is_lenient,
                "{number:?}: {} are said, {count} there",
                state.messages
            );
            assert!(
                state.bytes == bytes || self.is_lenient,
                "{number:?}: {} bytes are said, {bytes} there",
                state.bytes
            );
            let stream = shell.store.stream(number).expect("it is there");
            assert_eq!(stream.durable_seq(), state.last_seq);
            model.key = key;
            model.messages = remaining;
            model.last = vec![(0, state.last_seq)];
            model.meta = vec![(0, meta)];
            model.created_at = 0;
            model.deleted_at = None;
            model.notes = notes
                .into_iter()
                .map(|(note, facts)| (note, vec![(0, facts)]))
                .collect();
        }
        self.streams.retain(|number, _| found.contains(number));
        self.durable = 0;
        let log = shell.log();
        let read = Report::of(&log);
        for (key, seq) in unreadable {
            let said = (String::from_utf8(key).expect("as it was named"), seq);
            assert!(
                read.damaged.contains(&said),
                "{said:?} is damaged, and nothing says so"
            );
        }
        // Messages that compaction has moved are not in order: their sequences cannot be told, but so
        // much is said to be lost that they may be in it.
        let bytes: usize = unreported.iter().map(|(_, _, bytes)| bytes).sum();
        assert!(
            bytes <= report.bytes(),
            "{unreported:?} are lost, said was {report:?}"
        );
    }
}
