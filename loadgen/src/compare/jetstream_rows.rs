//! The rows of a comparison that have to do with streams, all with 128-byte messages.

use crate::compare::workloads::{Better, Measure, Named};
use crate::jetstream::args::{
    Append, BatchArgs, BatchKind, ConsumersArgs, DiskArgs, FetchArgs, FilterArgs,
    JetStreamWorkload as Js, Keeping, KvGetArgs, KvPutArgs, KvWatchArgs, PublishArgs,
    PublishSyncArgs, PushArgs, RestartArgs, Storage, StreamsArgs, WorkArgs,
};
use crate::jetstream::restart;
use crate::report::Outcome;
use crate::workload::Workload;

const PAYLOAD_BYTES: usize = 128;
const IN_FLIGHT: u64 = 1_000;

pub fn rows() -> Vec<Named> {
    let file = Keeping::default;
    let memory = || Keeping {
        storage: Storage::Memory,
        ..Keeping::default()
    };
    let publish = |keeping, publishers| {
        Js::JsPub(PublishArgs {
            keeping,
            publishers,
            window: IN_FLIGHT,
            subjects: 1,
            repeat_every: None,
        })
    };
    let sync = |keeping| {
        Js::JsPubSync(PublishSyncArgs {
            keeping,
            publishers: 1,
        })
    };
    let batch = |kind| {
        Js::JsBatch(BatchArgs {
            keeping: file(),
            kind,
            batch: 500,
            in_flight: 2,
        })
    };
    let fetch = |keeping| {
        Js::JsFetch(FetchArgs {
            keeping,
            messages: 500_000,
            batch: 500,
            requests: 1,
            no_acks: false,
        })
    };
    let push = |acks| {
        Js::JsPush(PushArgs {
            keeping: file(),
            messages: 500_000,
            acks,
        })
    };
    let filter = |group_digits| {
        Js::JsFilter(FilterArgs {
            keeping: file(),
            messages: 2_000_000,
            subjects: 1_000_000,
            group_digits,
            batch: 500,
            requests: 1,
        })
    };
    let work = Js::JsWork(WorkArgs {
        keeping: file(),
        publishers: 1,
        workers: 1,
        window: IN_FLIGHT,
        batch: 500,
        requests: 2,
    });
    let streams = Js::JsStreams(StreamsArgs {
        keeping: file(),
        streams: 1_000,
        publishers: 1,
        window: IN_FLIGHT,
    });
    let consumers = Js::JsConsumers(ConsumersArgs {
        keeping: file(),
        consumers: 10_000,
        messages_each: 20,
        parallel: 100,
    });
    let (keys, in_flight) = (10_000, 100);
    let kv_put = Js::KvPut(KvPutArgs {
        keeping: file(),
        keys,
        history: 1,
        in_flight,
    });
    let kv_get = Js::KvGet(KvGetArgs {
        keeping: file(),
        keys,
        in_flight,
    });
    let kv_watch = Js::KvWatch(KvWatchArgs {
        keeping: file(),
        keys,
        watchers: 10,
        in_flight,
    });
    let disk = |how| {
        Js::Disk(DiskArgs {
            store_dir: None,
            how,
        })
    };
    vec![
        published(
            "disk",
            "bare disk, on the server's core: 4 KiB, fdatasync",
            disk(Append::Direct),
        )
        .unit("syncs/s"),
        published(
            "disk-dsync",
            "bare disk, on the server's core: 4 KiB, O_DSYNC",
            disk(Append::Dsync),
        )
        .unit("syncs/s"),
        published("js-pub-1", "async publish, 1 publisher", publish(file(), 1))
            .target(2.0)
            .with_c(Some(100.0)),
        published(
            "js-pub-4",
            "async publish, 4 publishers",
            publish(file(), 4),
        )
        .target(2.0)
        .with_c(Some(100.0)),
        published(
            "js-pub-memory",
            "async publish, memory",
            publish(memory(), 1),
        ),
        cost("js-pub-sync", "publish, one in flight: p50", sync(file())).with_c(Some(1.0)),
        cost("js-sync-memory", "the same, memory", sync(memory())),
        published(
            "js-batch-atomic",
            "atomic batches of 500",
            batch(BatchKind::Atomic),
        ),
        published(
            "js-batch-fast",
            "fast batch, ack per 500",
            batch(BatchKind::Fast),
        ),
        delivered("js-fetch", "pull, explicit acks, batch 500", fetch(file())).target(3.0),
        delivered("js-fetch-memory", "the same, memory", fetch(memory())),
        delivered("js-push", "push, flow control", push(false)),
        delivered("js-push-acks", "push, explicit acks", push(true)),
        delivered(
            "js-filter",
            "pull with a filter, 1 of 100 groups of 1 M subjects",
            filter(2),
        )
        .target(10.0),
        delivered("js-filter-10", "the same, 1 of 10 groups", filter(1)),
        delivered("js-filter-all", "the same, all by a wildcard", filter(0)),
        delivered("js-work", "work queue: publish, pull, ack, delete", work).target(2.0),
        published("js-streams", "publish over 1,000 streams", streams)
            .target(1.0)
            .with_c(None),
        delivered("js-consumers", "10 k consumers: pull from all", consumers),
        published("kv-put", "KV put", kv_put)
            .target(2.0)
            .with_c(None),
        published("kv-get", "KV get", kv_get).target(2.0),
        delivered("kv-watch", "KV watch, 10 watchers", kv_watch).target(2.0),
        restarted(
            "js-restart",
            "restart, 10 M messages, 1 M subjects",
            10_000_000,
            false,
        )
        .target(0.2),
        restarted("js-kill", "the same after kill -9", 10_000_000, true),
        restarted(
            "js-restart-1m",
            "restart, 1 M messages, 1 M subjects",
            1_000_000,
            false,
        ),
    ]
}

fn published(name: &'static str, title: &'static str, workload: Js) -> Named {
    metric(name, title, workload, |outcome| {
        Some(outcome.published_per_second)
    })
}

fn delivered(name: &'static str, title: &'static str, workload: Js) -> Named {
    metric(name, title, workload, |outcome| {
        Some(outcome.delivered_per_second)
    })
}

fn cost(name: &'static str, title: &'static str, workload: Js) -> Named {
    let mut named = metric(name, title, workload, |outcome| {
        outcome.latency.as_ref().map(|latency| latency.p50_us)
    });
    named.better = Better::Lower;
    named.unit("µs")
}

fn restarted(name: &'static str, title: &'static str, messages: u64, kill: bool) -> Named {
    let workload = Js::JsRestart(RestartArgs {
        keeping: Keeping::default(),
        command: String::new(),
        messages,
        subjects: 1_000_000,
        kill,
        store_dir: None,
    });
    let mut named = metric(name, title, workload, |outcome| {
        outcome.metric(restart::READY)
    });
    named.better = Better::Lower;
    named.unit("ms")
}

fn metric(
    name: &'static str,
    title: &'static str,
    workload: Js,
    value: fn(&Outcome) -> Option<f64>,
) -> Named {
    Named {
        name,
        title,
        payload_bytes: PAYLOAD_BYTES,
        measure: Measure::Run(Workload::JetStream(workload), value),
        unit: "msg/s",
        better: Better::Higher,
        core: false,
        jetstream: true,
        target: None,
        with_c: false,
        target_c: None,
    }
}

impl Named {
    fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    fn target(mut self, ratio: f64) -> Self {
        self.target = Some(ratio);
        self
    }

    fn with_c(mut self, ratio: Option<f64>) -> Self {
        self.with_c = true;
        self.target_c = ratio;
        self
    }
}
