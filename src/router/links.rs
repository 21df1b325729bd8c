//! Imports as the router follows them: from a published subject to the accounts that see it and
//! to those that answer it, when a plan is made.
//!
//! Nothing is copied into an importing account's or an exporting account's index: a plan has a
//! part for each account in which somebody listens. A message through an import costs what one
//! within an account costs, and subscribing costs nothing more where nothing is imported.

use std::sync::Arc;

use super::plan::{Plan, ServiceLeg, Via};
use super::{AccountId, Router, Tables};
use crate::auth::accounts::{Directory, StreamImport};
use crate::auth::system_imports::SYSTEM_IMPORTS;
use crate::subject::{COMPARED_MAX, Compiled, EntryId, Index, SubjectHash, Transform, matches};

/// Numbers by pattern.
#[derive(Debug)]
struct PatternTable {
    /// All patterns, while there are few.
    few: Vec<(Compiled, u32)>,
    index: Index,
    numbers: Vec<Vec<u32>>,
    len: usize,
}

impl PatternTable {
    fn new(hash: &SubjectHash) -> Self {
        Self {
            few: Vec::new(),
            index: Index::new(hash.clone()),
            numbers: Vec::new(),
            len: 0,
        }
    }

    fn insert(&mut self, pattern: &[u8], number: u32) {
        self.len += 1;
        if self.len <= COMPARED_MAX {
            self.few.push((Compiled::new(pattern), number));
        }
        let (entry, _) = self.index.insert(pattern);
        let place = entry as usize;
        if place >= self.numbers.len() {
            self.numbers.resize_with(place + 1, Vec::new);
        }
        self.numbers[place].push(number);
    }

    fn for_each(&self, subject: &[u8], hash: u64, mut found: impl FnMut(u32)) {
        if self.len <= COMPARED_MAX {
            for (_, number) in self.few.iter().filter(|(p, _)| p.matches(subject)) {
                found(*number);
            }
            return;
        }
        self.index.for_each_match(subject, hash, |entry: EntryId| {
            for &number in &self.numbers[entry as usize] {
                found(number);
            }
        });
    }
}

/// Imports that touch one account. Numbers are places in the directory's tables.
#[derive(Debug)]
pub(super) struct Links {
    /// Streams that others import from it, by its subjects.
    exported: PatternTable,
    /// Services that it imports, by its subjects.
    services: PatternTable,
    /// Streams that it imports.
    imported: Vec<u32>,
}

impl Links {
    fn new(hash: &SubjectHash) -> Self {
        Self {
            exported: PatternTable::new(hash),
            services: PatternTable::new(hash),
            imported: Vec::new(),
        }
    }

    /// Whether it sees streams of other accounts.
    pub(super) fn has_imports(&self) -> bool {
        !self.imported.is_empty()
    }
}

impl Router {
    /// Has plans follow the imports of this directory.
    pub fn set_directory(&mut self, directory: Arc<Directory>) {
        self.plans.forget_all();
        for account in &mut self.accounts {
            account.links = None;
        }
        for (number, stream) in (0..).zip(&directory.streams) {
            let links = self.links_of(stream.exporter);
            links.exported.insert(&stream.from, number);
            self.links_of(stream.importer).imported.push(number);
        }
        for (number, service) in (0..).zip(&directory.services) {
            let links = self.links_of(service.importer);
            links.services.insert(&service.from, number);
        }
        self.directory = directory;
    }

    fn links_of(&mut self, account: AccountId) -> &mut Links {
        self.ensure(account);
        let hash = &self.hash;
        self.accounts[account.0 as usize]
            .links
            .get_or_insert_with(|| Box::new(Links::new(hash)))
    }

    /// Forgets the plans of subjects that `account` sees as `subject` through imports.
    pub(super) fn forget_exporters(&mut self, account: AccountId, subject: &[u8]) {
        let directory = Arc::clone(&self.directory);
        let Some(links) = &self.accounts[account.0 as usize].links else {
            return;
        };
        for number in links.imported.clone() {
            let StreamImport {
                to, back, exporter, ..
            } = &directory.streams[number as usize];
            let mut there = Vec::new();
            if matches(to, subject) && through(back.as_ref(), subject, &mut there) {
                self.plans.forget(*exporter, self.hash.of(&there));
            }
        }
    }
}

impl Tables<'_> {
    /// Adds to a plan what every account may ask of the system account, unless the account has an
    /// import of that very subject.
    #[cold]
    pub(super) fn follow_system(&self, plan: &mut Plan, subject: &[u8]) {
        let own = plan.services.iter().any(|leg| match leg {
            ServiceLeg::Import(import) => {
                *self.directory.services[*import as usize].from == *subject
            }
            ServiceLeg::System(_) => true,
        });
        let asked = SYSTEM_IMPORTS
            .iter()
            .position(|import| import.subject.as_bytes() == subject);
        if let (Some(number), false, Some(_)) = (asked, own, self.directory.system) {
            plan.services.push(ServiceLeg::System(number as u8));
        }
    }

    /// Adds to a plan the accounts that import `subject` and those that answer it.
    pub(super) fn follow_links(
        &self,
        plan: &mut Plan,
        account: AccountId,
        subject: &[u8],
        hash: u64,
    ) {
        if let Some(links) = &self.accounts[account.0 as usize].links {
            links.services.for_each(subject, hash, |import| {
                plan.services.push(ServiceLeg::Import(import));
            });
        }
        self.follow_streams(plan, account, subject, hash);
        plan.settle();
    }

    /// One step and no further: who imports from an account sees what is published there, not what
    /// it imports itself. It has been shared with that account, not with everybody whom that account
    /// shares with.
    fn follow_streams(&self, plan: &mut Plan, account: AccountId, subject: &[u8], hash: u64) {
        let Some(links) = &self.accounts[account.0 as usize].links else {
            return;
        };
        links.exported.for_each(subject, hash, |number| {
            let import = &self.directory.streams[number as usize];
            let importer = import.importer;
            let mut part = plan.spare_part();
            let via = Via {
                import: number,
                allow_trace: import.allow_trace,
            };
            part.begin(importer, hash, Some(via));
            if let Some(there) = &import.there {
                if !there.apply(subject, 0, &mut part.subject) {
                    plan.keep_spare(part);
                    return;
                }
                part.hash = self.hasher.of(&part.subject);
            }
            let mapped = std::mem::take(&mut part.subject);
            let here = if mapped.is_empty() { subject } else { &mapped };
            part.head.set(b"MSG ", here);
            let hash = part.hash;
            self.fill(&mut part, importer, here, hash);
            part.subject = mapped;
            plan.add(part);
        });
    }
}

/// What `subject` is on the other side; false where it is nothing.
fn through(transform: Option<&Transform>, subject: &[u8], to: &mut Vec<u8>) -> bool {
    match transform {
        Some(transform) => transform.apply(subject, 0, to),
        None => {
            to.extend_from_slice(subject);
            true
        }
    }
}
