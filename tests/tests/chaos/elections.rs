//! Elections that lose what was written.

use millstream_tests::anomalies::Op;
use millstream_tests::group::write_part;
use millstream_tests::kafka::JavaTools;
use millstream_tests::require;

use crate::stage::{Cluster, PATIENT, Stage};

#[test]
fn what_an_unclean_election_has_cut_off_is_told_and_what_is_written_in_its_place_is_handled() {
    const CUT_AT: u64 = 2_000;
    const END: u64 = 5_000;
    let (mut kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    kafka.create_replicated_topic("cut", 1, 2, &[("unclean.leader.election.enable", "true")]).unwrap();
    let mut stage = Stage::silent(&kafka, "cut", 1, END);
    let member = stage.group.join("a", &PATIENT);
    stage.group.wait_until_shared_by(&[member]);
    let before = stage.losses();
    write_part(&kafka, &java, &stage.written, 0..CUT_AT);
    stage.wait_for_more(CUT_AT);
    let known = kafka.partitions("cut").unwrap().remove(0);
    let (leader, behind) = (known.leader, known.replicas.into_iter().find(|id| *id != known.leader).unwrap());
    kafka.kill9(behind);
    stage.group.wait_until("the leader alone is in sync", |_| {
        kafka.partitions("cut").is_ok_and(|partitions| partitions[0].isr == [leader])
    });
    write_part(&kafka, &java, &stage.written, CUT_AT..END);
    stage.wait_for_more(END - CUT_AT);
    kafka.kill9(leader);
    stage.group.note(Op::Truncated { partition: 0, end: CUT_AT as i64 });
    stage.group.note(Op::Sought { member, partition: 0, to: CUT_AT as i64 });
    stage.group.note_written_again(CUT_AT..END);
    kafka.restart(behind).unwrap();
    stage.group.wait_until("the replica that was behind leads", |_| {
        kafka.partitions("cut").is_ok_and(|partitions| partitions[0].leader == behind)
    });
    write_part(&kafka, &java, &stage.written, CUT_AT..END);
    let again = std::iter::once(CUT_AT as i64..END as i64).collect::<Vec<_>>();
    stage.group.wait_until("what was written again is handled again", |group| {
        group.deliveries.repeated() == [(0, again.clone())].into()
    });
    let told = format!("the records that were read at offsets {CUT_AT} to {} are lost", END - 1);
    let log = stage.group.engine(member).log();
    assert!(log.contains(&told), "{log}");
    assert_eq!(stage.losses(), before);
    kafka.start_all().unwrap();
    stage.finish(&kafka, &[member]);
}
