//! What nats-server 2.15.1 was seen to do.

use super::*;

#[test]
fn pulls_and_acknowledges() {
    let mut stage = Stage::new();
    for n in 1..=5 {
        stage.put_before("a", &format!("{n}"));
    }
    stage.create(pull_config());
    stage.pull("P", "3");
    assert_eq!(stage.take(), ["P: 1", "P: 2", "P: 3"]);
    let info = stage.info();
    assert_eq!(info.num_pending, 2);
    assert_eq!(info.num_ack_pending, 3);
}
