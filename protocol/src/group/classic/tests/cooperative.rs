//! Members that keep their partitions while they join.

use super::*;

fn config() -> ClassicConfig {
    ClassicConfig { seed: 1, assignors: vec![Assignor::CooperativeSticky], ..ClassicConfig::new("g") }
}

fn world(members: usize) -> World {
    World::with((0..members).map(|_| config()).collect())
}

/// Two members, of which the first has joined alone.
fn one_of_two() -> World {
    let mut world = world(2);
    world.groups[0].start();
    world.pass(500 * MS);
    assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3");
    world.news(0);
    world.sent[0].clear();
    world
}

#[test]
fn a_member_gives_up_only_what_goes_and_the_newcomer_gets_it_afterwards() {
    let mut world = one_of_two();
    world.groups[1].start();
    world.pass(10 * Duration::from_secs(1));
    let expected = ["assigned t-2 t-3 in 2", "revoke t-0 t-1", "assigned t-2 t-3 in 3"];
    assert_eq!(world.news(0), expected);
    assert_eq!(world.news(1), ["coordinator?", "assigned  in 2", "assigned t-0 t-1 in 3"]);
}

#[test]
fn nothing_goes_to_others_before_its_owner_has_said_that_it_is_given_up() {
    let mut world = one_of_two();
    world.revokes = false;
    world.groups[1].start();
    world.pass(30 * Duration::from_secs(1));
    assert_eq!((world.owned(0), world.owned(1)), ("t-2 t-3 t-0 t-1".to_owned(), String::new()));
    let now = world.now;
    world.groups[0].revoked(now);
    world.pass(10 * Duration::from_secs(1));
    assert_eq!((world.owned(0), world.owned(1)), ("t-2 t-3".to_owned(), "t-0 t-1".to_owned()));
}

#[test]
fn what_a_leaver_had_goes_to_those_who_stay_and_they_give_up_nothing() {
    let mut world = one_of_two();
    world.groups[1].start();
    world.pass(10 * Duration::from_secs(1));
    world.news(0);
    let now = world.now;
    world.groups[1].leave(now);
    world.pass(10 * Duration::from_secs(1));
    assert_eq!(world.news(0), ["assigned t-0 t-1 t-2 t-3 in 4"]);
}

#[test]
fn a_member_that_waits_for_a_join_proves_that_it_is_there_beside_it() {
    let mut world = one_of_two();
    world.groups[1].start();
    world.settle();
    // The second is asked for a member id and joins; then it falls silent, so that the first one's join waits.
    world.deaf.push(1);
    world.coordinator.rebalancing = true;
    world.coordinator.members.entry("silent".to_owned()).or_default();
    world.pass(100 * Duration::from_secs(1));
    assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3");
    assert!(world.groups[0].is_joining());
    let beside = world.sent[0].iter().filter(|kind| **kind == GroupRequestKind::HeartbeatBeside).count();
    assert!(beside >= 30, "{beside} in 100 s");
    assert_eq!(world.news(0), Vec::<String>::new());
}

#[test]
fn a_member_whose_join_nobody_answers_loses_its_partitions_when_its_session_ends() {
    let mut world = one_of_two();
    world.coordinator.rebalancing = true;
    world.coordinator.members.entry("silent".to_owned()).or_default();
    world.pass(5 * Duration::from_secs(1));
    assert!(world.groups[0].is_joining());
    world.deaf.push(0);
    world.pass(46 * Duration::from_secs(1));
    let news = world.news(0);
    assert!(news[0].starts_with("lost t-0 t-1 t-2 t-3: no heartbeat was answered"), "{news:?}");
}

#[test]
fn a_member_that_is_not_known_any_more_loses_its_partitions_before_its_join_is_answered() {
    let mut world = one_of_two();
    world.coordinator.rebalancing = true;
    world.coordinator.members.entry("silent".to_owned()).or_default();
    world.pass(5 * Duration::from_secs(1));
    world.coordinator.members.remove("member-1");
    world.pass(5 * Duration::from_secs(1));
    let news = world.news(0);
    assert!(
        news.len() == 1 && news[0].starts_with("lost t-0 t-1 t-2 t-3: the coordinator answered UNKNOWN"),
        "{news:?}"
    );
    assert!(world.groups[0].is_joining());
}

#[test]
fn a_heartbeat_beside_a_join_that_failed_is_followed_by_the_next() {
    let mut world = one_of_two();
    world.coordinator.rebalancing = true;
    world.coordinator.members.entry("silent".to_owned()).or_default();
    world.pass(5 * Duration::from_secs(1));
    world.deaf.push(0);
    world.pass(5 * Duration::from_secs(1));
    world.deaf.clear();
    world.groups[0].heartbeat_beside_failed();
    world.pass(60 * Duration::from_secs(1));
    assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3");
}

#[test]
fn leaving_while_a_join_waits_gives_up_everything_first() {
    let mut world = one_of_two();
    world.coordinator.rebalancing = true;
    world.coordinator.members.entry("silent".to_owned()).or_default();
    world.pass(5 * Duration::from_secs(1));
    world.revokes = false;
    let now = world.now;
    world.groups[0].leave(now);
    world.settle();
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3"]);
    world.groups[0].revoked(now);
    world.settle();
    assert_eq!(world.news(0), ["left"]);
}

/// Two members; the first is the leader and has its generation, but cannot assign: it is not told partition counts.
fn joined_and_not_assigned() -> World {
    let mut world = one_of_two();
    world.withholds_counts = true;
    world.groups[1].start();
    world.pass(5 * Duration::from_secs(1));
    assert!(world.groups[0].is_joining());
    assert_eq!((world.groups[0].generation(), world.owned(0)), (2, "t-0 t-1 t-2 t-3".to_owned()));
    world.revokes = false;
    world
}

#[test]
fn a_member_that_leaves_between_join_and_sync_gets_into_the_generation_to_commit_first() {
    let mut world = joined_and_not_assigned();
    let now = world.now;
    world.groups[0].leave(now);
    world.groups[0].leave(now);
    world.settle();
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3"], "told at once, and once");
    assert!(world.groups[0].joins_to_leave() && !world.groups[0].may_commit());
    world.withholds_counts = false;
    let counts = world.counts.clone();
    world.groups[0].set_partition_counts(&counts);
    world.settle();
    assert!(!world.groups[0].is_joining() && world.groups[0].may_commit());
    assert_eq!((world.news(0), world.groups[0].generation()), (Vec::new(), 2), "it takes nothing any more");
    // Heartbeats go on until the commit is answered.
    world.pass(60 * Duration::from_secs(1));
    assert_eq!((world.news(0), world.owned(0)), (Vec::new(), "t-0 t-1 t-2 t-3".to_owned()));
    let now = world.now;
    world.groups[0].revoked(now);
    world.pass(10 * Duration::from_secs(1));
    assert_eq!((world.news(0), world.owned(1)), (vec!["left".to_owned()], "t-0 t-1 t-2 t-3".to_owned()));
}

#[test]
fn a_member_that_has_waited_long_enough_for_its_join_leaves_without_it() {
    let mut world = joined_and_not_assigned();
    let now = world.now;
    world.groups[0].leave(now);
    world.settle();
    world.groups[0].revoked(now);
    world.settle();
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3", "left"]);
    assert!(world.owned(0).is_empty() && !world.groups[0].joins_to_leave());
    world.groups[0].start();
    assert!(world.groups[0].is_joining() && !world.groups[0].joins_to_leave(), "it can come back");
}

#[test]
fn a_member_that_leaves_before_all_have_joined_may_try_the_former_generation() {
    let mut world = one_of_two();
    world.coordinator.rebalancing = true;
    world.coordinator.members.entry("silent".to_owned()).or_default();
    world.pass(5 * Duration::from_secs(1));
    assert!(world.groups[0].is_joining() && !world.groups[0].may_commit());
    world.revokes = false;
    let now = world.now;
    world.groups[0].leave(now);
    assert!(world.groups[0].may_commit());
    assert_eq!(world.groups[0].generation(), 1);
}

#[test]
fn a_member_that_is_thrown_out_while_it_joins_to_leave_is_gone() {
    for is_silent in [false, true] {
        let mut world = one_of_two();
        world.coordinator.rebalancing = true;
        world.coordinator.members.entry("silent".to_owned()).or_default();
        world.pass(5 * Duration::from_secs(1));
        world.revokes = false;
        let now = world.now;
        world.groups[0].leave(now);
        match is_silent {
            true => world.deaf.push(0),
            false => drop(world.coordinator.members.remove("member-1")),
        }
        world.pass(80 * Duration::from_secs(1));
        let news = world.news(0);
        assert!(news[1].starts_with("lost t-0 t-1 t-2 t-3"), "{news:?}");
        assert_eq!(news.last().map(String::as_str), Some("left"));
    }
}

#[test]
fn leaving_while_some_are_given_up_gives_up_the_rest_too() {
    let mut world = one_of_two();
    world.revokes = false;
    world.groups[1].start();
    world.pass(10 * Duration::from_secs(1));
    assert_eq!(world.news(0), ["assigned t-2 t-3 in 2", "revoke t-0 t-1"]);
    let now = world.now;
    world.groups[0].leave(now);
    world.settle();
    assert_eq!(world.news(0), ["revoke t-2 t-3 t-0 t-1"]);
}

#[test]
fn a_topic_that_is_no_longer_wanted_is_given_up_before_joining_and_the_rest_is_kept() {
    let mut world = world(1);
    world.counts.insert(Arc::from("u"), 2);
    world.groups[0].subscribe(["t", "u"].map(Arc::from));
    world.groups[0].start();
    world.pass(500 * MS);
    world.news(0);
    world.groups[0].subscribe([Arc::from("t")]);
    world.pass(500 * MS);
    assert_eq!(world.news(0), ["revoke u-0 u-1", "assigned t-0 t-1 t-2 t-3 in 2"]);
}

#[test]
fn beside_an_eager_assignor_on_offer_all_is_given_up_before_joining() {
    let assignors = vec![Assignor::CooperativeSticky, Assignor::Range];
    let configs = (0..2).map(|_| ClassicConfig { assignors: assignors.clone(), ..config() });
    let mut world = World::with(configs.collect());
    world.groups[0].start();
    world.pass(500 * MS);
    world.news(0);
    world.groups[1].start();
    world.pass(10 * Duration::from_secs(1));
    // It is the cooperative assignor that the group uses; whoever has the partitions back keeps them.
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3", "assigned t-0 t-2 in 2"]);
    assert_eq!(world.owned(1), "t-1 t-3");
}

#[test]
fn an_eager_sticky_member_gets_back_what_it_had() {
    let configs = (0..3).map(|_| ClassicConfig { assignors: vec![Assignor::Sticky], ..config() }).collect();
    let mut world = World::with(configs);
    for at in 0..3 {
        world.groups[at].start();
        world.pass(10 * Duration::from_secs(1));
    }
    let (kept, now) = (world.owned(2), world.now);
    world.groups[1].leave(now);
    world.pass(10 * Duration::from_secs(1));
    assert!(world.owned(2).contains(&kept), "{kept} of {}", world.owned(2));
}

#[test]
fn whatever_comes_and_goes_no_partition_has_two_owners_and_each_has_one_in_the_end() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = world(4);
        world.counts.insert(Arc::from("t"), 11);
        for _ in 0..40 {
            let at = random.usize(0..4);
            let now = world.now;
            match random.u32(0..6) {
                0 | 1 => world.groups[at].start(),
                2 => world.groups[at].leave(now),
                3 => world.groups[at].on_disconnected(now),
                4 => world.coordinator.rebalancing |= world.coordinator.members.len() > 1,
                _ => {}
            }
            world.pass(random.u64(0..4000) as u32 * MS);
            assert_one_owner(&world, seed);
        }
        (0..4).for_each(|at| world.groups[at].start());
        world.pass(200 * Duration::from_secs(1));
        assert_one_owner(&world, seed);
        let shares: Vec<usize> = world.groups.iter().map(|group| group.owned().len()).collect();
        assert_eq!(shares.iter().sum::<usize>(), 11, "seed {seed}: {shares:?}");
        assert!(shares.iter().all(|share| (2..=3).contains(share)), "seed {seed}: {shares:?}");
    }
}

fn assert_one_owner(world: &World, seed: u64) {
    let mut owners: BTreeSet<&TopicPartition> = BTreeSet::new();
    for partition in world.groups.iter().flat_map(ClassicGroup::owned) {
        assert!(owners.insert(partition), "seed {seed}: {partition} has two owners: {:?}", world.log);
    }
}
