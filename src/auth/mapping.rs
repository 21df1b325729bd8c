//! Where the publishes of an account go instead: its mappings, compiled.
//!
//! A subject that no mapping is for costs one probe of a table for literal sources and a walk of
//! the tree of others. Which of several sources counts, nats-server leaves to the order of a hash
//! map; here it is the most specific one: token by token a literal before `*` before `>`.
//!
//! Weights are added up to 100 with the subject itself, unless it is among the destinations: then
//! the rest is lost, which is how loss is tested. Knows no connection and no message.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use super::definition::{Destination, MappingDefinition};
use crate::subject::{self, EntryId, Index, SubjectHash, Transform};

/// All that weights add up to.
const WEIGHT_ALL: u8 = 100;

/// What becomes of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Its subject stays.
    Unchanged,
    /// It has the subject that was appended.
    Mapped,
    /// It goes to nobody.
    Dropped,
}

/// Why mappings cannot be made. The texts are nats-server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingError {
    /// Of the mapping.
    pub source: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Error adding mapping for {:?} : {}",
            self.source, self.reason
        )
    }
}

impl std::error::Error for MappingError {}

/// The mappings of one account.
#[derive(Debug)]
pub struct Mappings {
    index: Index,
    /// By the index's entry ids.
    mappings: Vec<Mapping>,
}

/// What one source is mapped to.
#[derive(Debug)]
struct Mapping {
    /// Its place among all: of several that match, the lowest counts.
    rank: usize,
    /// Where the dice fall below the number, and not below that of the one before, it goes here.
    shares: Box<[(u8, Share)]>,
}

#[derive(Debug)]
enum Share {
    Unchanged,
    To(Transform),
}

impl Mappings {
    /// Compiles mappings for a server in `cluster`. Of two with the same source the last counts.
    ///
    /// # Errors
    /// A source or destination is no valid one, or weights add up to more than 100.
    pub fn new(
        definitions: &[MappingDefinition],
        cluster: Option<&str>,
    ) -> Result<Self, MappingError> {
        // Sources are the operator's: nobody else can choose some that collide.
        let mut index = Index::new(SubjectHash::new(0));
        let mut mappings = Vec::new();
        for definition in definitions {
            let made = Mapping::new(definition, cluster).map_err(|reason| MappingError {
                source: definition.source.clone(),
                reason,
            })?;
            match index.insert(definition.source.as_bytes()) {
                (_, true) => mappings.push(made),
                (id, false) => mappings[id as usize] = made,
            }
        }
        let mut order: Vec<EntryId> = (0..index.len() as EntryId).collect();
        order.sort_by(|&a, &b| compare_specificity(index.text(a), index.text(b)));
        for (rank, id) in order.into_iter().enumerate() {
            mappings[id as usize].rank = rank;
        }
        Ok(Self { index, mappings })
    }

    /// Checks one mapping, with the destinations for all clusters.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(definition: &MappingDefinition) -> Result<(), String> {
        Mapping::new(definition, None).map(drop)
    }

    /// True when nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// Chooses what becomes of a publish to `subject`, and appends its new one to `to`. `random` is
    /// the dice for weights and for `Random(n)`.
    pub fn select(&self, subject: &[u8], random: u64, to: &mut Vec<u8>) -> Selected {
        if self.is_empty() {
            return Selected::Unchanged;
        }
        let mut found: Option<&Mapping> = None;
        let hash = self.index.hasher().of(subject);
        self.index.for_each_match(subject, hash, |id| {
            let mapping = &self.mappings[id as usize];
            // The index takes wildcards and empty tokens for ordinary ones.
            let is_first = found.is_none_or(|best| mapping.rank < best.rank);
            if is_first && subject::is_subset(subject, self.index.text(id)) {
                found = Some(mapping);
            }
        });
        let Some(mapping) = found else {
            return Selected::Unchanged;
        };
        match mapping.share(random) {
            Some(Share::Unchanged) => Selected::Unchanged,
            Some(Share::To(transform)) if transform.apply(subject, random, to) => Selected::Mapped,
            // Lost, or what came out is no subject.
            Some(Share::To(_)) | None => Selected::Dropped,
        }
    }
}

impl Mapping {
    fn new(definition: &MappingDefinition, cluster: Option<&str>) -> Result<Self, String> {
        let source = &definition.source;
        if !subject::is_valid_pattern(source.as_bytes()) {
            return Err("invalid subject".into());
        }
        let mut seen = BTreeSet::new();
        let mut compiled = Vec::new();
        for (at, destination) in definition.destinations.iter().enumerate() {
            if !seen.insert(destination.subject.as_str()) {
                return Err(format!("duplicate entry for {:?}", destination.subject));
            }
            if destination.weight > WEIGHT_ALL {
                return Err(format!("individual weights need to be <= {WEIGHT_ALL}"));
            }
            let so_far = &definition.destinations[..=at];
            if total_weight(so_far, &destination.cluster) > u32::from(WEIGHT_ALL) {
                return Err(format!("total weight needs to be <= {WEIGHT_ALL}"));
            }
            let transform = Transform::new(source, &destination.subject);
            compiled.push((destination, transform.map_err(|e| e.to_string())?));
        }
        // Destinations of this cluster count alone, if there are any.
        let own = |d: &Destination| cluster.is_some() && d.cluster.as_deref() == cluster;
        let has_own = definition.destinations.iter().any(own);
        let counts = |d: &Destination| if has_own { own(d) } else { d.cluster.is_none() };

        let mut shares: Vec<(u8, Share)> = compiled
            .into_iter()
            .filter(|(destination, _)| counts(destination))
            .map(|(destination, transform)| {
                let share = if destination.subject == *source {
                    Share::Unchanged
                } else {
                    Share::To(transform)
                };
                (destination.weight, share)
            })
            .collect();
        // Weights are up to 100 together, so that their sums fit.
        let mut total = 0;
        for (weight, _) in &mut shares {
            total += *weight;
            *weight = total;
        }
        // The source among the destinations, of whichever cluster, means that the rest is lost.
        if total < WEIGHT_ALL && !seen.contains(source.as_str()) {
            shares.push((WEIGHT_ALL, Share::Unchanged));
        }
        Ok(Self {
            rank: 0,
            shares: shares.into(),
        })
    }

    fn share(&self, random: u64) -> Option<&Share> {
        // The low half; functions of transforms use the high one.
        let dice = ((random & u64::from(u32::MAX)) * u64::from(WEIGHT_ALL)) >> 32;
        let found = self
            .shares
            .iter()
            .find(|(until, _)| dice < u64::from(*until))?;
        Some(&found.1)
    }
}

fn total_weight(destinations: &[Destination], cluster: &Option<String>) -> u32 {
    let of_cluster = destinations.iter().filter(|d| d.cluster == *cluster);
    of_cluster.map(|d| u32::from(d.weight)).sum()
}

/// The more specific of two patterns is less: token by token a literal before `*` before `>`.
fn compare_specificity(one: &[u8], other: &[u8]) -> Ordering {
    let class = |token: &[u8]| match token {
        subject::ANY_TAIL => 2,
        subject::ANY_TOKEN => 1,
        _ => 0,
    };
    let classes = |pattern| <[u8]>::split(pattern, |&b| b == subject::SEPARATOR).map(class);
    // Two that match the same subject are of the same length but for `>`, which comes last.
    classes(one)
        .cmp(classes(other))
        .then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Destination, weight, cluster.
    type To = (&'static str, u8, Option<&'static str>);

    fn definition(source: &str, destinations: &[To]) -> MappingDefinition {
        let destinations = destinations
            .iter()
            .map(|&(subject, weight, cluster)| Destination {
                subject: subject.into(),
                weight,
                cluster: cluster.map(Into::into),
            });
        MappingDefinition {
            source: source.into(),
            destinations: destinations.collect(),
        }
    }

    /// What each hundredth of the dice leads to, with how many of them; `-` is nobody.
    fn outcomes(mappings: &Mappings, subject: &str) -> Vec<(String, u32)> {
        let mut counted: Vec<(String, u32)> = Vec::new();
        for hundredth in 0..100_u64 {
            let dice = (hundredth << 32) / 100 + 1000;
            let mut to = b"before ".to_vec();
            let outcome = match mappings.select(subject.as_bytes(), dice, &mut to) {
                Selected::Unchanged => subject.to_owned(),
                Selected::Dropped => "-".to_owned(),
                Selected::Mapped => String::from_utf8(to.split_off(7)).unwrap(),
            };
            assert_eq!(to, b"before ");
            match counted.iter_mut().find(|(known, _)| *known == outcome) {
                Some((_, times)) => *times += 1,
                None => counted.push((outcome, 1)),
            }
        }
        counted
    }

    #[test]
    fn weights() {
        /// Source, destinations, own cluster, subject, outcomes as observed at nats-server.
        type Case = (
            &'static str,
            &'static [To],
            Option<&'static str>,
            &'static str,
            &'static [(&'static str, u32)],
        );
        const X: Option<&str> = Some("X");
        let cases: &[Case] = &[
            ("foo", &[("b", 100, None)], None, "foo", &[("b", 100)]),
            ("foo", &[("b", 100, None)], None, "bar", &[("bar", 100)]),
            (
                "foo.*",
                &[("b.$1", 10, None)],
                None,
                "foo.a",
                &[("b.a", 10), ("foo.a", 90)],
            ),
            (
                "foo",
                &[("b", 10, None), ("foo", 20, None)],
                None,
                "foo",
                &[("b", 10), ("foo", 20), ("-", 70)],
            ),
            (
                "foo",
                &[("foo", 50, None)],
                None,
                "foo",
                &[("foo", 50), ("-", 50)],
            ),
            ("foo", &[("b", 0, None)], None, "foo", &[("foo", 100)]),
            (
                "foo",
                &[("foo", 0, None), ("b", 0, None)],
                None,
                "foo",
                &[("-", 100)],
            ),
            ("foo", &[], None, "foo", &[("foo", 100)]),
            (
                "foo.>",
                &[("foo.>", 5, None)],
                None,
                "foo.a",
                &[("foo.a", 5), ("-", 95)],
            ),
            // Clusters.
            (
                "foo",
                &[("b", 50, None), ("c", 40, X)],
                None,
                "foo",
                &[("b", 50), ("foo", 50)],
            ),
            (
                "foo",
                &[("b", 50, None), ("c", 40, X)],
                X,
                "foo",
                &[("c", 40), ("foo", 60)],
            ),
            (
                "foo",
                &[("b", 50, None), ("c", 40, X)],
                Some("Y"),
                "foo",
                &[("b", 50), ("foo", 50)],
            ),
            ("foo", &[("c", 40, X)], None, "foo", &[("foo", 100)]),
            (
                "foo",
                &[("c", 100, X), ("foo", 50, Some("Y"))],
                None,
                "foo",
                &[("-", 100)],
            ),
            (
                "foo",
                &[("c", 100, X), ("foo", 50, Some("Y"))],
                X,
                "foo",
                &[("c", 100)],
            ),
            // What comes out must be a subject.
            (
                "foo.*",
                &[("{{split(1,-)}}", 100, None)],
                None,
                "foo.-",
                &[("-", 100)],
            ),
            // What goes in, too.
            ("foo.*", &[("b", 100, None)], None, "foo.", &[("foo.", 100)]),
            (
                "foo.*",
                &[("b", 100, None)],
                None,
                "foo.>",
                &[("foo.>", 100)],
            ),
        ];
        for &(source, destinations, cluster, subject, expected) in cases {
            let mappings = Mappings::new(&[definition(source, destinations)], cluster).unwrap();
            let found = outcomes(&mappings, subject);
            let found: Vec<(&str, u32)> = found.iter().map(|(s, n)| (s.as_str(), *n)).collect();
            assert_eq!(
                found, expected,
                "{source} {destinations:?} {cluster:?} {subject}"
            );
        }
    }

    #[test]
    fn the_most_specific_source_counts() {
        let sources = [">", "a.>", "a.*", "*.b", "a.b", "a.*.c", "a.b.>", "a.b.*"];
        // Its place in the list is where it goes to.
        let definitions: Vec<MappingDefinition> = sources
            .iter()
            .map(|source| {
                let tail = if source.ends_with('>') { ".>" } else { "" };
                let destination = format!("to{}{tail}", source.replace(['*', '>', '.'], "_"));
                MappingDefinition {
                    source: (*source).into(),
                    destinations: vec![Destination {
                        subject: destination,
                        weight: 100,
                        cluster: None,
                    }],
                }
            })
            .collect();
        let cases = [
            ("a.b", "toa_b"),
            ("a.c", "toa__"),
            ("c.b", "to__b"),
            ("a.b.c", "toa_b__"),
            ("a.c.c", "toa___c"),
            ("a.b.c.d", "toa_b__.c.d"),
            ("a.d.d", "toa__.d.d"),
            ("x", "to_.x"),
        ];
        for reversed in [false, true] {
            let mut definitions = definitions.clone();
            if reversed {
                definitions.reverse();
            }
            let mappings = Mappings::new(&definitions, None).unwrap();
            for (subject, expected) in cases {
                assert_eq!(
                    outcomes(&mappings, subject),
                    [(expected.to_owned(), 100)],
                    "{subject}"
                );
            }
        }
    }

    #[test]
    fn the_last_of_two_with_one_source_counts() {
        let list = [
            definition("a", &[("b", 100, None)]),
            definition("a", &[("c", 100, None)]),
        ];
        let mappings = Mappings::new(&list, None).unwrap();
        assert_eq!(outcomes(&mappings, "a"), [("c".to_owned(), 100)]);
        assert!(Mappings::new(&[], None).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_mapping() {
        let cases: &[(&str, &[To], &str)] = &[
            ("foo..bar", &[], "invalid subject"),
            (
                "foo",
                &[("b", 60, None), ("b", 20, Some("X"))],
                "duplicate entry for \"b\"",
            ),
            (
                "foo",
                &[("b", 101, None)],
                "individual weights need to be <= 100",
            ),
            (
                "foo",
                &[("b", 60, None), ("c", 41, None)],
                "total weight needs to be <= 100",
            ),
            (
                "foo",
                &[("b", 1, None), ("c", 60, Some("X")), ("d", 41, Some("X"))],
                "total weight needs to be <= 100",
            ),
            ("foo", &[("", 100, None)], "invalid subject"),
            ("foo.*", &[("x.*", 100, None)], "invalid subject"),
            (
                "foo.*",
                &[("x..y", 100, None)],
                "invalid mapping destination: invalid transform",
            ),
        ];
        for &(source, destinations, expected) in cases {
            let definition = definition(source, destinations);
            assert_eq!(Mappings::check(&definition), Err(expected.to_owned()));
            let error = Mappings::new(&[definition], Some("Z")).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("Error adding mapping for {source:?} : {expected}")
            );
        }
    }
}
