//! The router against a naive model: lists of subscriptions, matched one by one.

use super::*;
use crate::base::prng::Prng;
use crate::subject;

const ACCOUNT: AccountId = AccountId::GLOBAL;

#[derive(Clone)]
struct ModelSub {
    conn: u32,
    sid: String,
    subject: String,
    queue: String,
}

fn random_subject(prng: &mut Prng, wildcards: bool) -> String {
    let tokens = 1 + prng.below(3);
    let words: Vec<&str> = (0..tokens)
        .map(|n| match prng.below(if wildcards { 5 } else { 3 }) {
            3 => "*",
            4 if n + 1 == tokens => ">",
            k => ["a", "b", "c"][k as usize % 3],
        })
        .collect();
    words.join(".")
}

fn expected_plain(model: &[ModelSub], published: &str) -> Vec<(u32, String)> {
    let mut expected: Vec<_> = model
        .iter()
        .filter(|s| s.queue.is_empty())
        .filter(|s| subject::matches(s.subject.as_bytes(), published.as_bytes()))
        .map(|s| (s.conn, s.sid.clone()))
        .collect();
    expected.sort();
    expected
}

fn planned(router: &mut Router, published: &str) -> Plan {
    let plan = router.route(ACCOUNT, published.as_bytes(), 0);
    router.plans.get(plan).clone()
}

fn sid_text(router: &Router, sub: SubId) -> String {
    with_sid_text(router.subs[sub].sid, &router.long_sids, |text| {
        String::from_utf8_lossy(text).into_owned()
    })
}

#[test]
fn plans_agree_with_the_model_under_churn() {
    for seed in 0..30 {
        let mut prng = Prng::new(seed);
        let mut router = Router::new(SubjectHash::new(seed));
        let mut firsts = [NONE; 3];
        let mut model: Vec<ModelSub> = Vec::new();
        for step in 0..600 {
            let conn = prng.below(3);
            if prng.below(5) < 3 || model.is_empty() {
                let sid = if prng.one_in(5) {
                    format!("long-sid-{step}")
                } else {
                    step.to_string()
                };
                let sub = ModelSub {
                    conn,
                    sid,
                    subject: random_subject(&mut prng, true),
                    queue: ["", "", "q1", "q2"][prng.below(4) as usize].into(),
                };
                router.subscribe(
                    ACCOUNT,
                    conn,
                    &mut firsts[conn as usize],
                    sub.subject.as_bytes(),
                    sub.queue.as_bytes(),
                    sub.sid.as_bytes(),
                );
                model.push(sub);
            } else {
                let gone = model.swap_remove(prng.below(model.len() as u32) as usize);
                let sub = router
                    .find(gone.conn, gone.sid.as_bytes())
                    .expect("the model has it");
                let change = router.unsubscribe(sub, &mut firsts[gone.conn as usize]);
                let left = model
                    .iter()
                    .filter(|s| s.subject == gone.subject && s.queue == gone.queue)
                    .count() as u32;
                if gone.queue.is_empty() {
                    assert_eq!(change.is_some(), left == 0);
                } else {
                    assert_eq!(change.expect("queues always say").members, left);
                }
            }
            let published = random_subject(&mut prng, false);
            let plan = planned(&mut router, &published);
            let mut plain: Vec<_> = plan
                .first
                .plain
                .iter()
                .map(|&s| (router.subs[s].conn, sid_text(&router, s)))
                .collect();
            plain.sort();
            assert_eq!(plain, expected_plain(&model, &published), "seed {seed}");
            for queue in ["q1", "q2"] {
                let expected = model
                    .iter()
                    .filter(|s| s.queue == queue)
                    .filter(|s| subject::matches(s.subject.as_bytes(), published.as_bytes()))
                    .count();
                let picks: Vec<_> = plan
                    .first
                    .groups
                    .iter()
                    .filter(|p| router.queues.name(p.queue) == queue.as_bytes())
                    .collect();
                assert!(picks.len() <= 1, "one pick for each name");
                let members: usize = picks
                    .iter()
                    .flat_map(|p| &p.groups)
                    .map(|&g| router.groups[g].members.len())
                    .sum();
                assert_eq!(members, expected, "seed {seed}");
            }
        }
        for sub in model {
            let found = router.find(sub.conn, sub.sid.as_bytes()).expect("kept");
            router.unsubscribe(found, &mut firsts[sub.conn as usize]);
        }
        assert_eq!(firsts, [NONE; 3]);
        assert_eq!(router.patterns(), 0);
        assert!(router.subs.is_empty() && router.groups.is_empty());
        assert!(router.by_sid.is_empty() && router.long_sids.is_empty());
    }
}

#[test]
fn remote_interest_comes_and_goes() {
    let mut router = Router::new(SubjectHash::new(1));
    let (one, two) = (ShardId(1), ShardId(2));
    router.set_remote(ACCOUNT, b"a.*", b"", one, 1);
    router.set_remote(ACCOUNT, b"a.b", b"q", one, 2);
    router.set_remote(ACCOUNT, b"a.b", b"q", two, 5);
    let plan = planned(&mut router, "a.b");
    assert_eq!(plan.first.remote, one.bit());
    let group = plan.first.groups[0].groups[0];
    assert_eq!(router.groups[group].remote[..], [(one, 2), (two, 5)]);
    router.set_remote(ACCOUNT, b"a.*", b"", one, 0);
    router.set_remote(ACCOUNT, b"a.b", b"q", one, 0);
    router.set_remote(ACCOUNT, b"a.b", b"q", two, 0);
    let plan = planned(&mut router, "a.b");
    assert!(plan.first.remote == 0 && plan.first.groups.is_empty());
    assert_eq!(router.patterns(), 0);
}

#[test]
fn subjects_with_empty_tokens_reach_nobody() {
    let mut router = Router::new(SubjectHash::new(1));
    let mut first = NONE;
    router.subscribe(ACCOUNT, 0, &mut first, b">", b"", b"1");
    for (subject, reached) in [("a.b", 1), ("a..b", 0), (".a", 0), ("a.", 0), ("a", 1)] {
        let plan = planned(&mut router, subject);
        assert_eq!(plan.first.plain.len(), reached, "{subject}");
    }
}

/// Subjects that come once, among patterns that come and go: shared plans are those that would have been
/// made for each.
#[test]
fn plans_by_prefix_agree_with_the_model() {
    const FIRST: [&str; 3] = [
        "aaaaaaaa.aaaaaaaa",
        "aaaaaaaa.bbbbbbbb",
        "b.cccccccccccccccccc",
    ];
    let mut shared = 0;
    for seed in 0..6 {
        let mut prng = Prng::new(seed);
        let mut router = Router::new(SubjectHash::new(seed));
        let mut first = NONE;
        let mut model: Vec<ModelSub> = Vec::new();
        for step in 0..400 {
            if prng.below(5) < 3 || model.is_empty() {
                let beginning = FIRST[prng.below(3) as usize];
                let pattern = match prng.below(6) {
                    0 => format!("{beginning}.>"),
                    1 => format!("{beginning}.*"),
                    2 => format!("{beginning}.*.7"),
                    3 => format!("{beginning}.7.*"),
                    4 => format!("{beginning}.{}", prng.below(50)),
                    _ => ["*.*.*", ">", "aaaaaaaa.*.*"][prng.below(3) as usize].into(),
                };
                let sub = ModelSub {
                    conn: 0,
                    sid: step.to_string(),
                    subject: pattern,
                    queue: String::new(),
                };
                let (subject, sid) = (sub.subject.as_bytes(), sub.sid.as_bytes());
                router.subscribe(ACCOUNT, 0, &mut first, subject, b"", sid);
                model.push(sub);
            } else {
                let gone = model.swap_remove(prng.below(model.len() as u32) as usize);
                let sub = router.find(0, gone.sid.as_bytes()).expect("it is there");
                router.unsubscribe(sub, &mut first);
            }
            for _ in 0..200 {
                let beginning = FIRST[prng.below(3) as usize];
                let mut published = format!("{beginning}.{}", prng.below(60));
                match prng.below(8) {
                    0 => published.push_str(".7"),
                    1 => published.push_str("..7"),
                    2 => published.push('.'),
                    _ => {}
                }
                let plan = router.route_freely(ACCOUNT, published.as_bytes(), 0);
                shared += u32::from(plan as usize > crate::base::limits::PLAN_CACHE_SLOTS);
                let plan = router.plans.get(plan).clone();
                let head = format!("MSG {published} ");
                assert_eq!(plan.first.head.as_bytes(), head.as_bytes());
                assert_eq!(plan.first.hash, router.hasher().of(published.as_bytes()));
                let plain = plan.first.plain.iter();
                let mut plain: Vec<_> = plain.map(|&s| (0, sid_text(&router, s))).collect();
                plain.sort();
                let expected = match published.contains("..") || published.ends_with('.') {
                    true => Vec::new(),
                    false => expected_plain(&model, &published),
                };
                assert_eq!(plain, expected, "seed {seed}: {published}");
            }
        }
    }
    assert!(shared > 5_000, "{shared}");
}
