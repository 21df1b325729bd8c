//! An account's claims as the plain values that the server works with.

use std::sync::Arc;
use std::time::Duration;

use super::account::AccountClaims;
use super::exchange::{ExportClaims, ExportType, ImportClaims};
use crate::auth::definition::{
    AccountDefinition, AccountLimits, Destination, ExportDefinition, ExportKind, ImportDefinition,
    ImportKind, JetStreamAccess, JetStreamLimits, LatencyDefinition, MappingDefinition,
    TraceDefinition,
};

impl AccountClaims {
    /// The account as a definition, called by its public key. `activated` says of each import
    /// whether the exporting account allows it ([`AccountClaims::approves`]).
    pub fn definition(
        self: &Arc<Self>,
        mut activated: impl FnMut(&ImportClaims) -> bool,
    ) -> AccountDefinition {
        AccountDefinition {
            name: self.common.subject.clone(),
            claims: Some(Arc::clone(self)),
            nkey: Some(self.common.subject.clone()),
            exports: self.exports.iter().map(export).collect(),
            imports: self
                .imports
                .iter()
                .map(|claims| import(claims, activated(claims)))
                .collect(),
            mappings: self.mappings().collect(),
            limits: AccountLimits {
                connections: self.limits.connections,
                leafnodes: self.limits.leafnodes,
                subscriptions: self.limits.subscriptions,
                payload_bytes: self.limits.payload_bytes,
            },
            jetstream: self.jetstream(),
            trace: self
                .trace
                .as_ref()
                .map(|(destination, sampling)| TraceDefinition {
                    destination: destination.clone(),
                    sampling: *sampling,
                }),
        }
    }

    fn jetstream(&self) -> JetStreamAccess {
        let (flat, tiers) = (&self.limits.jetstream, &self.limits.tiers);
        if tiers.values().any(JetStreamLimits::is_anything) {
            let tiers = tiers
                .iter()
                .map(|(name, limits)| (name.clone(), limits.for_server()));
            JetStreamAccess::Tiers(tiers.collect())
        } else if tiers.is_empty() && flat.is_anything() {
            JetStreamAccess::Limits(flat.for_server())
        } else {
            JetStreamAccess::None
        }
    }

    fn mappings(&self) -> impl Iterator<Item = MappingDefinition> {
        self.mappings
            .iter()
            .map(|(source, destinations)| MappingDefinition {
                source: source.clone(),
                destinations: destinations
                    .iter()
                    .map(|destination| Destination {
                        subject: destination.subject.clone(),
                        weight: destination.weight,
                        cluster: (!destination.cluster.is_empty())
                            .then(|| destination.cluster.clone()),
                    })
                    .collect(),
            })
    }
}

fn export(claims: &ExportClaims) -> ExportDefinition {
    ExportDefinition {
        subject: claims.subject.clone(),
        kind: match claims.kind {
            ExportType::Stream => ExportKind::Stream,
            ExportType::Service => ExportKind::Service {
                response: claims.response.unwrap_or_default(),
                threshold: u64::try_from(claims.threshold_ns)
                    .ok()
                    .filter(|&ns| ns != 0)
                    .map(Duration::from_nanos),
                latency: claims
                    .latency
                    .as_ref()
                    .map(|(sampling, subject)| LatencyDefinition {
                        sampling: *sampling,
                        subject: subject.clone(),
                    }),
                allow_trace: claims.allow_trace,
            },
        },
        accounts: None,
        token_required: claims.token_required,
        account_token_position: claims.account_token_position,
    }
}

fn import(claims: &ImportClaims, activated: bool) -> ImportDefinition {
    ImportDefinition {
        account: claims.account.clone(),
        subject: claims.there().to_owned(),
        to: claims.here(),
        activated,
        kind: match claims.kind {
            ExportType::Stream => ImportKind::Stream {
                allow_trace: claims.allow_trace,
            },
            ExportType::Service => ImportKind::Service {
                share: claims.share,
            },
        },
    }
}
