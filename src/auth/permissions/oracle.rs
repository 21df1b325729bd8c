//! Every decision for all small rule sets, and for random larger ones, against sets of subjects
//! that are spelled out.

use super::*;
use crate::auth::definition::SubjectRules;
use crate::base::prng::Prng;

/// All subjects of up to four tokens, one more than rules have, and of one letter more.
struct Universe {
    subjects: Vec<String>,
    /// With the set of subjects that each matches, as bits.
    patterns: Vec<(String, u128)>,
}

/// A rule, and its queue if it has one.
type Rule<'u> = (&'u (String, u128), Option<&'static str>);

fn words(tokens: &[&str], depth: usize) -> Vec<String> {
    let mut all: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
    let mut last = all.clone();
    for _ in 1..depth {
        last = last
            .iter()
            .filter(|start| !start.ends_with('>'))
            .flat_map(|start| tokens.iter().map(move |token| format!("{start}.{token}")))
            .collect();
        all.extend_from_slice(&last);
    }
    all
}

/// Whether the tokens of `subject` are those of `pattern`: its own words, whatever they are.
fn is_match(pattern: &[&str], subject: &[&str]) -> bool {
    match (pattern, subject) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        ([first, pattern @ ..], [token, subject @ ..]) => {
            (*first == "*" || first == token) && is_match(pattern, subject)
        }
        _ => false,
    }
}

fn matches(pattern: &str, subject: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let subject: Vec<&str> = subject.split('.').collect();
    is_match(&pattern, &subject)
}

impl Universe {
    fn new() -> Self {
        let subjects = words(&["a", "b", "c"], 4);
        assert!(subjects.len() <= 128);
        let patterns = words(&["a", "b", "*", ">"], 3)
            .into_iter()
            .map(|pattern| {
                let bits = subjects.iter().enumerate().fold(0, |bits, (at, subject)| {
                    bits | (u128::from(matches(&pattern, subject)) << at)
                });
                (pattern, bits)
            })
            .collect();
        Self { subjects, patterns }
    }

    fn of_depth(&self, depth: usize) -> Vec<&(String, u128)> {
        let fits = |(pattern, _): &&(String, u128)| pattern.split('.').count() <= depth;
        self.patterns.iter().filter(fits).collect()
    }

    /// Asks everything of one set of rules.
    fn check(
        &self,
        allow: Option<&[Rule<'_>]>,
        deny: &[Rule<'_>],
        patterns: &[&(String, u128)],
        queues: &[&str],
    ) {
        let written = |rules: &[Rule<'_>]| -> Vec<String> {
            let one = |((pattern, _), queue): &Rule<'_>| match queue {
                Some(queue) => format!("{pattern} {queue}"),
                None => pattern.clone(),
            };
            rules.iter().map(one).collect()
        };
        let plain = |rules: &[Rule<'_>]| -> Vec<String> {
            rules
                .iter()
                .map(|((pattern, _), _)| pattern.clone())
                .collect()
        };
        let permissions = Permissions::new(PermissionRules {
            publish: SubjectRules {
                allow: allow.map(plain),
                deny: plain(deny),
            },
            subscribe: SubjectRules {
                allow: allow.map(written),
                deny: written(deny),
            },
            responses: None,
        })
        .unwrap();
        let told = || {
            format!(
                "allowed {:?}, denied {:?}",
                allow.map(written),
                written(deny)
            )
        };

        let union = |rules: &[Rule<'_>]| rules.iter().fold(0, |bits, ((_, of), _)| bits | of);
        let published = allow.map_or(u128::MAX, union) & !union(deny);
        for (at, subject) in self.subjects.iter().enumerate() {
            assert_eq!(
                permissions.may_publish(subject.as_bytes()),
                published >> at & 1 == 1,
                "publish {subject}, {}",
                told()
            );
        }

        for queue in queues {
            let has_queue = |rule: &Rule<'_>| {
                rule.1
                    .is_some_and(|of| !queue.is_empty() && matches(of, queue))
            };
            let concerning: Vec<&Rule<'_>> = deny
                .iter()
                .filter(|rule| rule.1.is_none() || has_queue(rule))
                .collect();
            let denied = concerning.iter().fold(0, |bits, ((_, of), _)| bits | of);
            for (at, subject) in self.subjects.iter().enumerate() {
                assert_eq!(
                    permissions.may_deliver(subject.as_bytes(), queue.as_bytes()),
                    denied >> at & 1 == 0,
                    "deliver {subject} to {queue:?}, {}",
                    told()
                );
            }
            for (pattern, bits) in patterns {
                let is_allowed = allow.is_none_or(|rules| {
                    let covering = rules.iter().filter(|((_, of), _)| bits & !of == 0);
                    let (plain, queued): (Vec<&Rule<'_>>, Vec<&Rule<'_>>) =
                        covering.partition(|rule| rule.1.is_none());
                    match queue.is_empty() || queued.is_empty() {
                        true => !plain.is_empty(),
                        false => queued.into_iter().any(has_queue),
                    }
                });
                // As words, as nats-server looks patterns up.
                let is_refused = concerning
                    .iter()
                    .any(|((rule, _), _)| matches(rule, pattern));
                let expected = if !is_allowed || is_refused {
                    MaySubscribe::No
                } else if bits & denied == 0 {
                    MaySubscribe::All
                } else {
                    MaySubscribe::Some
                };
                let answer = permissions.may_subscribe(pattern.as_bytes(), queue.as_bytes());
                assert_eq!(
                    answer,
                    expected,
                    "subscribe {pattern} {queue:?}, {}",
                    told()
                );
                // Whatever the rule: nothing is seen that is not allowed.
                if answer != MaySubscribe::No {
                    assert_eq!(
                        bits & !allow.map_or(u128::MAX, union),
                        0,
                        "{pattern}, {}",
                        told()
                    );
                }
            }
        }
    }
}

#[test]
fn one_allowed_and_one_denied() {
    let universe = Universe::new();
    let patterns = universe.of_depth(3);
    let one_or_none = || std::iter::once(None).chain(patterns.iter().map(Some));
    for allow in one_or_none() {
        let allow: Option<[Rule<'_>; 1]> = allow.map(|&pattern| [(pattern, None)]);
        for deny in one_or_none() {
            let deny: Vec<Rule<'_>> = deny.iter().map(|&&pattern| (pattern, None)).collect();
            universe.check(allow.as_ref().map(|a| &a[..]), &deny, &patterns, &[""]);
        }
    }
}

#[test]
fn two_rules_with_queues() {
    let universe = Universe::new();
    let patterns = universe.of_depth(2);
    let rules: Vec<Rule<'_>> = patterns
        .iter()
        .flat_map(|&pattern| [None, Some("q"), Some("*")].map(|queue| (pattern, queue)))
        .collect();
    for &one in &rules {
        for &other in &rules {
            let both = [one, other];
            universe.check(None, &both, &patterns, &["", "q", "r.s"]);
            universe.check(Some(&both), &[], &patterns, &["", "q", "r.s"]);
        }
    }
}

#[test]
fn many_rules() {
    let universe = Universe::new();
    let patterns = universe.of_depth(3);
    let queues = [None, None, Some("q"), Some("q.*"), Some("*.r"), Some(">")];
    for seed in 0..300 {
        let mut prng = Prng::new(seed);
        let some_rules = |prng: &mut Prng| -> Vec<Rule<'_>> {
            let mut any = |of: usize| prng.below(of as u32) as usize;
            (0..any(12))
                .map(|_| (patterns[any(patterns.len())], queues[any(queues.len())]))
                .collect()
        };
        let (allow, deny) = (some_rules(&mut prng), some_rules(&mut prng));
        let allow = (!prng.one_in(4)).then_some(&allow[..]);
        universe.check(allow, &deny, &patterns, &["", "q", "q.r", "s.r", "s"]);
    }
}
