//! Partitions that are assigned by hand: start, positions, leaders, failures, the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millstream_protocol::group::MembershipOperation;
use millstream_testbroker::{ApiKey, Effect, Fault, ResponseError, Versions};

use super::world::{FOREIGN_PORT, World};
use crate::control::{AssignedTopic, Request, Subscription};
use crate::error::{Error, LaneError, LaneErrorCause};
use crate::event::EngineEvent;
use crate::link::{BrokerEndpoint, CloseReason, Command, Event, Leader};
use crate::position::StartPosition;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn assign(topic: &str, partitions: Option<Vec<i32>>, start: StartPosition) -> Subscription {
    Subscription::Assign(vec![AssignedTopic { topic: Arc::from(topic), partitions, start }])
}

/// A world with topic `t` and one engine on it that has opened all its partitions.
pub(super) fn started(brokers: i32, partitions: i32, settings: &[(&str, &str)]) -> World {
    let mut world = World::new(brokers, &[("t", partitions)]);
    world.start(settings, assign("t", None, StartPosition::Earliest), 2);
    let all = usize::try_from(partitions).unwrap();
    assert!(world.run_until(5 * SECOND, |world| world.members[0].open.len() == all));
    world
}

#[test]
fn assigned_partitions_open_spread_over_shards_after_the_brokers_are_told() {
    let world = started(3, 6, &[]);
    let member = &world.members[0];
    let mut load = [0; 2];
    member.open.values().for_each(|(shard, ..)| load[*shard] += 1);
    assert_eq!(load, [3, 3]);
    for shard in 0..2 {
        let first = member.commands.iter().find(|(to, _)| *to == shard).unwrap();
        assert!(matches!(&first.1, Command::Brokers(brokers) if brokers.len() == 3));
    }
    assert!(member.open.values().all(|(_, open, _)| open.leader.is_some() && open.topic.id != [0; 16]));
}

#[test]
fn shards_are_told_to_connect_to_the_leaders_before_the_positions_are_known() {
    let world = started(3, 6, &[]);
    for shard in 0..2 {
        let of_shard = world.members[0].commands.iter().filter(|(to, _)| *to == shard);
        let commands: Vec<&Command> = of_shard.map(|(_, command)| command).collect();
        let opens = commands.iter().position(|command| matches!(command, Command::Open(_))).unwrap();
        let leaders = |commands: &[&Command]| -> BTreeSet<i32> {
            let one = |command: &&Command| match command {
                Command::Connect(broker) => Some(*broker),
                Command::Open(open) => Some(open.leader.unwrap().broker),
                _ => None,
            };
            commands.iter().filter_map(one).collect()
        };
        assert_eq!(leaders(&commands[..opens]), leaders(&commands[opens..]));
    }
}

#[test]
fn a_start_at_the_only_broker_takes_one_connection_of_the_control_plane() {
    let world = started(1, 4, &[("enable.auto.commit", "false")]);
    assert_eq!(world.members[0].connects, 1);
}

#[test]
fn start_positions_are_found_at_the_leaders() {
    let mut world = World::new(2, &[("t", 4)]);
    for partition in 0..4 {
        for _ in 0..10 {
            world.produce("t", partition);
        }
        world.cluster.delete_records("t", partition, 3, world.now).unwrap();
    }
    let one =
        |partition, start| AssignedTopic { topic: "t".into(), partitions: Some(vec![partition]), start };
    let topics = vec![
        one(0, StartPosition::Earliest),
        one(1, StartPosition::Latest),
        one(2, StartPosition::FromEnd(4)),
        one(3, StartPosition::FromEnd(100)),
    ];
    world.start(&[], Subscription::Assign(topics), 1);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].open.len() == 4));
    assert_eq!(world.members[0].opened(), ["t-0@3", "t-1@10", "t-2@6", "t-3@3"]);
}

#[test]
fn an_unknown_topic_ends_the_start_with_its_name() {
    let mut world = World::new(1, &[]);
    world.start(&[], assign("no-such", None, StartPosition::Earliest), 1);
    assert!(world.run_until(10 * SECOND, |world| world.members[0].ended.is_some()));
    let ended = world.members[0].ended.take().unwrap();
    assert!(matches!(ended, Err(Error::UnknownTopic(text)) if text.contains("topic no-such does not exist")));
}

#[test]
fn a_partition_that_the_topic_lacks_ends_the_start_with_its_number() {
    let mut world = World::new(1, &[("t", 2)]);
    world.start(&[], assign("t", Some(vec![1, 7]), StartPosition::Earliest), 1);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].ended.is_some()));
    let ended = world.members[0].ended.take().unwrap();
    assert!(matches!(ended, Err(Error::UnknownTopic(text)) if text.contains("partition 7 of topic t")));
}

#[test]
fn nobody_listening_ends_the_start_soon_with_one_message() {
    let mut world = World::new(1, &[("t", 1)]);
    world.cluster.stop_broker(1, world.now).unwrap();
    world.start(&[], assign("t", None, StartPosition::Earliest), 1);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].ended.is_some()));
    let ended = world.members[0].ended.take().unwrap();
    assert!(matches!(ended, Err(Error::Bootstrap(text)) if text.contains("127.0.0.1:9001")));
}

#[test]
fn servers_that_are_no_kafka_brokers_end_the_start_with_what_they_are() {
    let tls_alert = vec![0x15, 3, 3, 0, 2, 2, 70];
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    for (answer, hint) in
        [(tls_alert, "TLS"), (http, "HTTP"), (vec![0xff; 64], "Kafka"), (Vec::new(), "closed")]
    {
        let mut world = World::new(1, &[("t", 1)]);
        world.foreign = answer;
        let servers = format!("127.0.0.1:{FOREIGN_PORT}");
        world.start(&[("bootstrap.servers", &servers)], assign("t", None, StartPosition::Earliest), 1);
        assert!(world.run_until(5 * SECOND, |world| world.members[0].ended.is_some()));
        let ended = world.members[0].ended.take().unwrap();
        assert!(matches!(&ended, Err(Error::Bootstrap(text)) if text.contains(hint)), "{hint}: {ended:?}");
    }
}

#[test]
fn a_server_whose_name_has_no_address_ends_the_start_with_that_name() {
    let mut world = World::new(1, &[("t", 1)]);
    let servers = [("bootstrap.servers", "nowhere.invalid:9092")];
    world.start(&servers, assign("t", None, StartPosition::Earliest), 1);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].ended.is_some()));
    let ended = world.members[0].ended.take().unwrap();
    assert!(
        matches!(&ended, Err(Error::Bootstrap(text)) if text.contains("nowhere.invalid:9092")),
        "{ended:?}"
    );
}

#[test]
fn one_bootstrap_server_that_answers_is_enough() {
    let mut world = World::new(2, &[("t", 2)]);
    world.cluster.stop_broker(1, world.now).unwrap();
    let servers = format!("127.0.0.1:{FOREIGN_PORT},127.0.0.1:9001,127.0.0.1:9002");
    world.start(&[("bootstrap.servers", &servers)], assign("t", None, StartPosition::Earliest), 1);
    assert!(world.run_until(5 * SECOND, |world| !world.members[0].open.is_empty()));
    assert!(world.members[0].ended.is_none());
}

#[test]
fn brokers_of_kafka_2_8_are_spoken_to_in_their_versions() {
    let mut world = World::with_versions(2, &[("t", 4)], Versions::kafka_2_8());
    world.start(&[], assign("t", None, StartPosition::Latest), 2);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].open.len() == 4));
    assert!(world.members[0].open.values().all(|(_, open, _)| open.topic.id == [0; 16]));
}

#[test]
fn brokers_that_go_down_later_are_tried_for_ever_and_never_in_a_tight_loop() {
    let mut world = started(1, 1, &[]);
    world.cluster.stop_broker(1, world.now).unwrap();
    let lane = world.members[0].lane("t", 0);
    world.event(0, 0, Event::LeaderWanted { lane, reason: "connection refused" });
    world.run(Duration::from_secs(300));
    assert!(world.members[0].ended.is_none());
    let tries = world.members[0]
        .notices
        .iter()
        .filter(|notice| matches!(notice, EngineEvent::BrokerDown { .. }))
        .count();
    assert!((100..1000).contains(&tries), "{tries} tries in 300 s");
    world.cluster.start_broker(1, world.now).unwrap();
    world.members[0].commands.clear();
    let told = |world: &World| {
        world.members[0].commands.iter().any(|(_, command)| matches!(command, Command::Leader { .. }))
    };
    assert!(world.run_until(5 * SECOND, told));
}

#[test]
fn a_leader_that_moved_is_told_to_the_shard_that_asks() {
    let mut world = started(3, 1, &[]);
    let (lane, before) = (world.members[0].lane("t", 0), world.cluster.offsets("t", 0).unwrap().leader);
    let after = before % 3 + 1;
    world.cluster.move_leader("t", 0, after, world.now).unwrap();
    world.members[0].commands.clear();
    world.event(0, 0, Event::LeaderWanted { lane, reason: "NOT_LEADER_OR_FOLLOWER" });
    world.run(2 * SECOND);
    let told = world.members[0].commands.iter().find_map(|(_, command)| match command {
        Command::Leader { leader, .. } => leader.map(|leader| leader.broker),
        _ => None,
    });
    assert_eq!(told, Some(after));
}

#[test]
fn an_offset_out_of_range_is_reset_by_policy_and_the_gap_is_named() {
    let mut world = started(1, 1, &[("auto.offset.reset", "earliest")]);
    for _ in 0..20 {
        world.produce("t", 0);
    }
    world.cluster.delete_records("t", 0, 12, world.now).unwrap();
    let lane = world.members[0].lane("t", 0);
    world.event(0, 0, Event::OutOfRange { lane, offset: 5, seek: 0 });
    world.run(SECOND);
    let member = &world.members[0];
    let seek = member.commands.iter().find_map(|(_, command)| match command {
        Command::Seek { seek, offset, .. } => Some((*seek, *offset)),
        _ => None,
    });
    assert_eq!(seek, Some((1, 12)));
    let gap =
        member.notices.iter().find(|notice| matches!(notice, EngineEvent::PositionReset { .. })).unwrap();
    assert_eq!(
        gap.to_string(),
        "t-0: offset 5 is not in the log; skipping to offset 12, offsets 5 to 11 are lost"
    );
}

#[test]
fn without_a_reset_policy_an_offset_out_of_range_fails_the_lane_and_stops_the_engine() {
    let mut world = started(1, 1, &[("auto.offset.reset", "none")]);
    let lane = world.members[0].lane("t", 0);
    world.event(0, 0, Event::OutOfRange { lane, offset: 5, seek: 0 });
    assert!(world.run_until(5 * SECOND, |world| world.members[0].ended.is_some()));
    let Some(Err(Error::Lane(error))) = world.members[0].ended.take() else { panic!("no lane error") };
    assert_eq!((error.partition(), error.offset()), (0, 5));
    assert!(matches!(error.cause(), LaneErrorCause::NoOffset(_)));
}

#[test]
fn a_failed_lane_closes_the_others_in_order_and_ends_the_engine_with_its_error() {
    let mut world = started(1, 2, &[]);
    let lane = world.members[0].lane("t", 1);
    let error = LaneError::new("t".into(), 1, 42, LaneErrorCause::Panic("boom".to_owned()));
    world.event(0, 1, Event::Failed { lane, error });
    world.settle();
    let member = &world.members[0];
    let closes = member
        .commands
        .iter()
        .filter(|(_, command)| matches!(command, Command::Close { reason: CloseReason::Revoked, .. }));
    assert_eq!(closes.count(), 2);
    let ends = member.commands.iter().filter(|(_, command)| matches!(command, Command::End));
    assert_eq!(ends.count(), 2);
    assert!(matches!(&member.ended, Some(Err(Error::Lane(error))) if error.offset() == 42));
}

#[test]
fn lanes_that_do_not_finish_before_the_deadline_are_named_as_abandoned() {
    let mut world = started(1, 2, &[]);
    world.members[0].closes = false;
    let deadline = world.now + 3 * SECOND;
    world.request(0, Request::Shutdown { deadline, membership: MembershipOperation::Default });
    world.settle();
    let (lane, now) = (world.members[0].lane("t", 0), world.now);
    world.members[0].close(lane, now);
    assert!(!world.run_until(2 * SECOND, |world| world.members[0].ended.is_some()));
    assert!(world.run_until(2 * SECOND, |world| world.members[0].ended.is_some()));
    let Some(Err(error)) = world.members[0].ended.take() else { panic!("not abandoned") };
    assert!(error.to_string().ends_with(": t-1@-1"), "{error}");
    let Error::Abandoned(report) = error else { panic!("{error:?}") };
    assert_eq!(report.abandoned.iter().map(ToString::to_string).collect::<Vec<_>>(), ["t-1@-1"]);
}

#[test]
fn a_topic_that_was_created_again_is_lost_and_starts_anew() {
    let mut world = started(1, 1, &[("auto.offset.reset", "earliest")]);
    let old = world.members[0].lane("t", 0);
    world.cluster.recreate_topic("t", world.now).unwrap();
    world.event(0, 0, Event::TopicUnknown { lane: old });
    assert!(world.run_until(5 * SECOND, |world| {
        world.members[0].open.keys().any(|lane| lane.opening == old.opening + 1)
    }));
    let lost = world.members[0].commands.iter().any(|(_, command)| {
        matches!(command, Command::Close { lane, reason: CloseReason::Lost, .. } if *lane == old)
    });
    assert!(lost);
}

#[test]
fn errors_and_broken_connections_while_positions_are_looked_for_only_delay_the_start() {
    let mut world = World::new(2, &[("t", 2)]);
    world.cluster.inject(Fault::error(ApiKey::ListOffsets, ResponseError::NotLeaderOrFollower), world.now);
    world.cluster.inject(Fault::new(ApiKey::ListOffsets, Effect::DisconnectBefore), world.now);
    world.cluster.inject(Fault::new(ApiKey::Metadata, Effect::DisconnectAfter).times(2), world.now);
    world.start(&[], assign("t", None, StartPosition::Earliest), 1);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].open.len() == 2));
    assert_eq!(world.members[0].opened(), ["t-0@0", "t-1@0"]);
}

#[test]
fn a_throttled_answer_mutes_its_connection_and_no_other() {
    let mut world = World::new(2, &[("t", 2)]);
    let throttle = Fault::new(ApiKey::Metadata, Effect::Throttle(3 * SECOND));
    world.cluster.inject(throttle, world.now);
    let start = world.now;
    world.start(&[("metadata.max.age.ms", "100")], assign("t", None, StartPosition::Earliest), 1);
    // One partition is led by the broker that is to be left alone, the other is not.
    assert!(world.run_until(SECOND, |world| world.members[0].open.len() == 1));
    world.run(SECOND);
    assert_eq!(world.members[0].open.len(), 1);
    world.run(10 * SECOND);
    let sent = world.members[0].sent.iter().filter(|(api, _)| *api == ApiKey::Metadata as i16);
    let second = sent.map(|(_, at)| *at).nth(1).unwrap();
    assert_eq!(second.duration_since(start), 3 * SECOND);
}

#[test]
fn a_leader_that_a_broker_names_is_told_to_the_shard_without_asking_for_metadata() {
    let mut world = started(2, 1, &[]);
    let lane = world.members[0].lane("t", 0);
    let asked = |world: &World| {
        world.members[0].sent.iter().filter(|(api, _)| *api == ApiKey::Metadata as i16).count()
    };
    let before = asked(&world);
    world.members[0].commands.clear();
    world.event(0, 0, Event::BrokerTold { id: 7, host: "127.0.0.1".into(), port: 9_001 });
    world.event(0, 0, Event::LeaderTold { lane, leader: Leader { broker: 7, epoch: 9 } });
    world.settle();
    let commands = &world.members[0].commands;
    let knows =
        |brokers: &[BrokerEndpoint]| brokers.iter().any(|known| known.id == 7 && !known.addresses.is_empty());
    assert!(matches!(&commands[0].1, Command::Brokers(brokers) if knows(brokers)), "{commands:?}");
    let led = commands.iter().any(|(_, command)| {
        matches!(command, Command::Leader { leader: Some(Leader { broker: 7, epoch: 9 }), .. })
    });
    assert!(led, "{commands:?}");
    world.event(0, 0, Event::LeaderTold { lane, leader: Leader { broker: 3, epoch: 8 } });
    world.settle();
    assert_eq!(asked(&world), before);
    let last = world.members[0].commands.back().unwrap();
    assert!(
        !matches!(last.1, Command::Leader { leader: Some(Leader { broker: 3, .. }), .. }),
        "an older epoch"
    );
}

#[test]
fn a_log_that_was_cut_goes_on_at_the_cut_and_says_what_is_gone() {
    for (reset, cut, expected) in [
        ("earliest", (2, 3), Some("seek 3 in epoch 2, lost 3..8")),
        ("latest", (2, 12), Some("seek 8 in epoch 2, lost nothing")),
        // Nothing is left of what was read.
        ("earliest", (-1, -1), Some("seek 0 in epoch -1, lost 0..8")),
        ("none", (2, 3), None),
    ] {
        let mut world = started(1, 1, &[("auto.offset.reset", reset)]);
        let lane = world.members[0].lane("t", 0);
        let (epoch, end_offset) = cut;
        world.event(0, 0, Event::Truncated { lane, offset: 8, epoch, end_offset, seek: 0 });
        world.run(SECOND);
        let member = &world.members[0];
        let lost = member.notices.iter().find_map(|notice| match notice {
            EngineEvent::PositionReset { from, to, truncated: true, .. } => Some(format!("{to}..{from}")),
            _ => None,
        });
        let lost = lost.unwrap_or_else(|| "nothing".to_owned());
        let sought = member.commands.iter().find_map(|(_, command)| match command {
            Command::Seek { offset, leader_epoch, .. } => {
                Some(format!("seek {offset} in epoch {leader_epoch}, lost {lost}"))
            }
            _ => None,
        });
        assert_eq!(sought.as_deref(), expected, "{reset}");
        let failed = member.notices.iter().find_map(|notice| match notice {
            EngineEvent::Failed { error } => Some(error.to_string()),
            _ => None,
        });
        assert_eq!(failed.is_some(), expected.is_none(), "{failed:?}");
        assert!(failed.is_none_or(|error| error.contains("the log was cut below offset 8")));
    }
}

fn metadata_asked(world: &World) -> usize {
    world.members[0].sent.iter().filter(|(api, _)| *api == ApiKey::Metadata as i16).count()
}

#[test]
fn a_broker_that_sends_clients_away_has_them_begin_with_the_bootstrap_servers() {
    for (strategy, connections) in [("rebootstrap", 3), ("none", 1)] {
        let mut world = World::new(1, &[("t", 1)]);
        let away = Fault::error(ApiKey::Metadata, ResponseError::RebootstrapRequired);
        world.cluster.inject(away.times(2), world.now);
        let settings = [("metadata.recovery.strategy", strategy)];
        world.start(&settings, assign("t", None, StartPosition::Offset(0)), 1);
        assert!(world.run_until(10 * SECOND, |world| world.members[0].open.len() == 1));
        assert_eq!(metadata_asked(&world), 3);
        assert_eq!(world.cluster.counters().connections, connections, "{strategy}");
    }
}

#[test]
fn where_no_known_broker_answers_the_bootstrap_servers_are_asked_again_unless_they_are_not_to_be() {
    for (strategy, goes_on) in [("rebootstrap", true), ("none", false)] {
        let mut world = World::new(2, &[("t", 1)]);
        // Where broker 1 says that it is, nobody listens.
        world.cluster.set_address(1, "127.0.0.1", 9_009).unwrap();
        let settings = [("metadata.recovery.strategy", strategy), ("metadata.max.age.ms", "1000")];
        world.start(&settings, assign("t", None, StartPosition::Offset(0)), 1);
        world.run(3 * SECOND);
        world.cluster.stop_broker(2, world.now).unwrap();
        world.run(SECOND);
        let before = metadata_asked(&world);
        world.run(20 * SECOND);
        assert_eq!(metadata_asked(&world) > before, goes_on, "{strategy}");
    }
}

#[test]
fn a_connection_that_nobody_uses_is_closed_and_made_again_when_it_is_needed_unless_it_is_to_be_kept() {
    for (max_idle, is_kept) in [("10000", false), ("-1", true)] {
        let mut world = World::new(1, &[("t", 1)]);
        let settings = [("connections.max.idle.ms", max_idle), ("metadata.max.age.ms", "60000")];
        world.start(&settings, assign("t", None, StartPosition::Offset(0)), 1);
        world.run(SECOND);
        let (connects, asked) = (world.members[0].connects, metadata_asked(&world));
        world.run(50 * SECOND);
        assert_eq!(world.members[0].connects, connects, "nothing is wanted of the broker");
        world.run(50 * SECOND);
        assert!(metadata_asked(&world) > asked);
        assert_eq!(world.members[0].connects == connects, is_kept, "{max_idle}");
    }
}
