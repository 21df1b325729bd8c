//! What is asserted of any bytes whatever; `tests/fuzz_corpus.rs` feeds it files and mutations of
//! them, `tests/fuzz/fuzz_targets/` whatever libFuzzer comes up with.

use std::net::SocketAddr;

use skein::auth::certificate::{DistinguishedName, Identity};
use skein::auth::claims::{Claims, decode};
use skein::auth::nkey::PublicKey;
use skein::base::ids::{ConnId, ShardId};
use skein::config::Limits;
use skein::proto::client::{Bounds, Step, parse};
use skein::proto::connect::ConnectOptions;
use skein::proto::info::ServerIdentity;
use skein::shard::{Effects, Event, Opening, Policy, Settings, Shard};

/// Cuts tried for one operation; a longer one is cut near both ends and here and there.
const CUTS_MAX: usize = 64;
const CLIENT: ConnId = ConnId {
    index: 0,
    generation: 1,
};
const WATCHER: ConnId = CLIENT;

/// What an unknown client presents is read without a panic, and a key that is read is printed as
/// it was.
pub fn credentials(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match decode(&text) {
        Ok(Claims::Account(claims)) => drop(claims.check()),
        Ok(Claims::User(claims)) => drop(claims.check(0)),
        _ => {}
    }
    if let Some(key) = PublicKey::parse(&text) {
        assert_eq!(key.to_string(), text);
    }
    if let Some(name) = DistinguishedName::parse(&text) {
        assert!(name.is_same(&name) && name.has_same_steps(&name));
    }
    let _ = Identity::of(bytes);
}

/// The parser takes no more than it was given, and an operation in pieces is the operation whole.
pub fn client_parse(bytes: &[u8]) {
    for (control_line_bytes, payload_bytes, headers) in [
        (4096, 1 << 20, true),
        (64, 100, true),
        (4096, 1 << 20, false),
    ] {
        let bounds = Bounds {
            control_line_bytes,
            payload_bytes,
            headers,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            let whole = parse(rest, &bounds);
            let end = match whole {
                Ok(Step::Op(_, used)) => {
                    assert!(0 < used && used <= rest.len());
                    used
                }
                Ok(Step::More { .. }) | Err(_) => rest.len(),
            };
            for cut in cuts(end) {
                let part = parse(&rest[..cut], &bounds);
                match part {
                    Ok(Step::Op(..)) | Err(_) => assert_eq!(part, whole, "cut at {cut}"),
                    Ok(Step::More { total: Some(total) }) => {
                        assert!(total > cut, "there is more to come than came");
                        match whole {
                            Ok(Step::Op(_, used)) => assert_eq!(used, total),
                            Ok(Step::More { total: later }) => assert_eq!(later, Some(total)),
                            Err(_) => {}
                        }
                    }
                    Ok(Step::More { total: None }) => {}
                }
            }
            match whole {
                Ok(Step::Op(_, used)) => rest = &rest[used..],
                Ok(Step::More { total }) => {
                    assert!(total.is_none_or(|total| total > rest.len()));
                    return;
                }
                Err(_) => break,
            }
        }
    }
}

fn cuts(end: usize) -> impl Iterator<Item = usize> {
    let step = (end / CUTS_MAX).max(1);
    (1..end).filter(move |cut| cut % step == 0 || *cut < 8 || end - cut < 8)
}

/// Options that were accepted once are accepted again and change nothing more.
pub fn connect_merge(bytes: &[u8]) {
    let mut options = ConnectOptions::default();
    if options.merge(bytes).is_err() {
        return;
    }
    let once = options.clone();
    options.merge(bytes).expect("it was accepted before");
    assert_eq!(options, once);
    assert!(ConnectOptions::default().merge(bytes).is_ok());
}

/// What a client is answered does not depend on how its bytes were cut into packets; nor what
/// others get from it, on its shard or on another one.
pub fn shard(bytes: &[u8], seed: u64) {
    let whole = play(bytes, 1, |_| bytes.len());
    let mut state = seed;
    let mut random_length = |left: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let limit = [1, 3, 20, 200][(state >> 62) as usize];
        (1 + (state >> 33) as usize % limit).min(left)
    };
    let pieces = play(bytes, 1, &mut random_length);
    assert_eq!(show(&pieces.client), show(&whole.client));
    assert_eq!(pieces.closed, whole.closed);

    // Where there are several shards a PONG may wait while messages do not: the watcher counts.
    let whole = play(bytes, 2, |_| bytes.len());
    let pieces = play(bytes, 2, &mut random_length);
    assert_eq!(show(&pieces.watcher), show(&whole.watcher));
    assert_eq!(pieces.closed, whole.closed);
}

/// What was said to whom.
struct Outcome {
    client: Vec<u8>,
    watcher: Vec<u8>,
    closed: bool,
}

/// A client on the first of some shards, and one on the last that subscribes to everything.
fn play(bytes: &[u8], shards: usize, mut length: impl FnMut(usize) -> usize) -> Outcome {
    let mut server = Server::new(shards);
    let mut outcome = Outcome {
        client: Vec::new(),
        watcher: Vec::new(),
        closed: false,
    };
    if shards > 1 {
        server.open(shards - 1, WATCHER);
        let connect = b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB > 1\r\n";
        server.receive(shards - 1, WATCHER, connect);
    }
    server.open(0, CLIENT);
    let mut rest = bytes;
    while !rest.is_empty() && !server.closed {
        let (piece, tail) = rest.split_at(length(rest.len()));
        server.receive(0, CLIENT, piece);
        outcome.client.append(&mut server.sent[0]);
        rest = tail;
    }
    outcome.client.append(&mut server.sent[0]);
    if shards > 1 {
        outcome.watcher.append(&mut server.sent[shards - 1]);
    }
    outcome.closed = server.closed;
    outcome
}

/// Shards, and a world that does at once what they want.
struct Server {
    shards: Vec<Shard>,
    sent: Vec<Vec<u8>>,
    closed: bool,
}

impl Server {
    fn new(shards: usize) -> Self {
        let limits = Limits {
            max_payload_bytes: 4000,
            max_control_line_bytes: 1000,
            ..Limits::DEFAULT
        };
        let settings = Settings {
            policy: Policy::open(),
            unix_at_zero_ms: 0,
            fine_clock_ns: || 1,
            identity: ServerIdentity {
                id: "N".repeat(56),
                name: "fuzz".into(),
                host: "127.0.0.1".into(),
                port: 4222,
                auth_required: false,
                tls: None,
                xkey: None,
                jetstream: None,
            },
            limits,
            debug: true,
            trace: true,
            shards,
            hash_seed: 7,
        };
        let shard = |id| Shard::new(ShardId(id as u8), settings.clone(), 11);
        Self {
            shards: (0..shards).map(shard).collect(),
            sent: vec![Vec::new(); shards],
            closed: false,
        }
    }

    fn open(&mut self, shard: usize, conn: ConnId) {
        let event = Event::Opened {
            conn,
            client_id: 5,
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            refused: false,
            opening: Opening::Plain,
            nonce: Box::default(),
            internal: None,
        };
        self.handle(shard, event);
    }

    fn receive(&mut self, shard: usize, conn: ConnId, bytes: &[u8]) {
        self.handle(shard, Event::Received { conn, bytes });
    }

    /// Handles an event and all that follows from it.
    fn handle(&mut self, shard: usize, event: Event<'_>) {
        let mut effects: Vec<Effects> = self.shards.iter().map(|_| Effects::default()).collect();
        self.shards[shard].handle(1, event, &mut effects[shard]);
        let mut idle = 0;
        // Until no shard has wanted anything in a whole round.
        for at in (0..self.shards.len()).cycle() {
            let fx = std::mem::take(&mut effects[at]);
            let quiet = fx.dirty.is_empty() && fx.closes.is_empty() && fx.mesh.0 == 0;
            idle = if quiet { idle + 1 } else { 0 };
            if idle == self.shards.len() {
                return;
            }
            for conn in fx.dirty {
                self.send(at, conn, &mut effects[at]);
            }
            for peer in fx.mesh {
                while let Some(batch) = self.shards[at].next_batch(peer) {
                    let from = ShardId(at as u8);
                    let to = peer.0 as usize;
                    let event = Event::Batch { from, batch };
                    self.shards[to].handle(1, event, &mut effects[to]);
                }
                self.shards[at].handle(1, Event::MeshDrained { peer }, &mut effects[at]);
            }
            for close in fx.closes {
                assert_eq!(close.conn, CLIENT);
                self.closed |= at == 0;
                self.send(at, close.conn, &mut effects[at]);
                let event = Event::Closed { conn: close.conn };
                self.shards[at].handle(1, event, &mut effects[at]);
            }
        }
    }

    fn send(&mut self, shard: usize, conn: ConnId, fx: &mut Effects) {
        let Some(out) = self.shards[shard].outbound(conn) else {
            return;
        };
        let before = self.sent[shard].len();
        for piece in out.begin_send() {
            self.sent[shard].extend_from_slice(piece);
        }
        let bytes = self.sent[shard].len() - before;
        if bytes > 0 {
            self.shards[shard].handle(1, Event::SendStarted { conn }, fx);
            self.shards[shard].handle(1, Event::Sent { conn, bytes }, fx);
        }
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
