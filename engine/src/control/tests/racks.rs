//! Sharing out by racks (KIP-881).

use std::sync::Arc;
use std::time::Duration;

use millstream_testbroker::Config as ClusterConfig;

use super::world::World;
use crate::control::Subscription;
use crate::position::StartPosition;

const SECOND: Duration = Duration::from_secs(1);

fn join(world: &mut World, rack: &str) {
    let subscription = Subscription::Group { topics: vec![Arc::from("t")], start: StartPosition::Earliest };
    world.start(&[("group.id", "g"), ("client.rack", rack)], subscription, 1);
}

fn is_shared_by_racks(world: &World) -> bool {
    // Each partition has one replica, and brokers have them in turn.
    let wanted = [["t-1@0", "t-3@0"], ["t-0@0", "t-2@0"]];
    world.members.iter().map(|member| member.opened()).eq(wanted)
}

#[test]
fn members_get_what_has_a_replica_in_their_rack_and_nothing_moves_while_a_broker_is_down() {
    let racks = [(1, "a".to_owned()), (2, "b".to_owned())].into();
    let config = ClusterConfig { racks, replication_factor: 1, ..ClusterConfig::default() };
    let mut world = World::with_config(config, 2, &[("t", 4)]);
    join(&mut world, "b");
    join(&mut world, "a");
    assert!(world.run_until(30 * SECOND, is_shared_by_racks), "{:?}", world.members[0].opened());
    let lane = world.members[0].lane("t", 1);
    let now = world.now;
    world.cluster.stop_broker(2, now).unwrap();
    world.run(30 * SECOND);
    world.cluster.start_broker(2, world.now).unwrap();
    world.run(30 * SECOND);
    assert!(is_shared_by_racks(&world), "{:?}", world.members[0].opened());
    assert_eq!(world.members[0].lane("t", 1), lane, "the same opening");
}
