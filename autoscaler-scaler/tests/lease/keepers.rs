//! Keepers against a Lease API in the same process, in paused time.

use std::sync::Arc;
use std::time::Duration;

use autoscaler_scaler::lease::{Leadership, LeaseError};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Dice;
use super::api::{Link, NAME};
use super::world::{MARGIN, TICK, World, seconds, until};

#[tokio::test(start_paused = true)]
async fn one_of_three_leads_and_keeps_leading() {
    let world = World::new();
    let [leader, second, third] = world.three(1).await;
    sleep(seconds(3)).await;
    assert!(leader.leads() && !second.leads() && !third.leads());
    let known = Leadership::Follower {
        holder: Some(leader.identity.clone()),
    };
    assert_eq!(*second.leadership.borrow(), known);
    assert_eq!(*third.leadership.borrow(), known);

    let first = world.api.spec();
    assert_eq!(first["holderIdentity"], json!(leader.identity));
    assert_eq!(first["leaseDurationSeconds"], json!(15));
    assert_eq!(first["leaseTransitions"], json!(0));
    sleep(seconds(3600)).await;
    let later = world.api.spec();
    assert_eq!(later["acquireTime"], first["acquireTime"]);
    assert_eq!(later["leaseTransitions"], json!(0));
    assert!(later["renewTime"].as_str() > first["renewTime"].as_str());
    assert_eq!(world.stage.count(), 1);
    // Three candidates, each with one call in 2 to 2.4 s.
    let requests = world.api.requests();
    assert!(
        (3600 * 3 / 24 * 10..=3600 * 3 / 2 + 30).contains(&requests),
        "{requests} requests"
    );
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_followed_within_20_s() {
    for seed in 0..50 {
        let world = World::new();
        let [leader, _second, _third] = world.three(seed).await;
        sleep(seconds(30) + TICK * u32::try_from(seed).unwrap() * 5).await;
        let killed_at = Instant::now();
        leader.kill();
        world.stage.hand_over(seconds(20)).await;
        assert!(leader.lost.is_cancelled());
        let taken = killed_at.elapsed();
        assert!(
            taken > seconds(12),
            "seed {seed}: the lease was in force, but taken after {taken:?}"
        );
        assert_eq!(world.api.spec()["leaseTransitions"], json!(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_release_is_followed_within_3_s() {
    for seed in 0..50 {
        let world = World::new();
        let [mut leader, _second, _third] = world.three(seed).await;
        sleep(seconds(30)).await;
        leader.shutdown.cancel();
        leader.ended(seconds(1)).await.unwrap();
        let spec = world.api.spec();
        assert_eq!(spec.get("holderIdentity"), None);
        assert_eq!(spec["leaseDurationSeconds"], json!(1));
        assert_eq!(*leader.leadership.borrow(), Leadership::Follower { holder: None });
        world.stage.hand_over(seconds(3)).await;
        assert_eq!(world.api.spec()["leaseTransitions"], json!(1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_kept_until_the_last_action_has_ended() {
    let world = World::new();
    let mut leader = world.start_with("a", 1, Link::Up, seconds(300));
    let _follower = world.start("b", 2);
    world.stage.hand_over(seconds(5)).await;
    assert_eq!(world.stage.last().unwrap().0, leader.identity);

    let stopped_at = Instant::now();
    leader.shutdown.cancel();
    sleep(seconds(299)).await;
    assert!(leader.leads());
    leader.ended(seconds(2)).await.unwrap();
    assert!(leader.actor.is_finished());
    world.stage.hand_over(seconds(3)).await;
    let (_, first, _) = world.stage.last().unwrap();
    assert!(first - stopped_at >= seconds(300));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_is_reported() {
    let world = World::new();
    let [mut leader, _second, _third] = world.three(1).await;
    leader.set(Link::Silent);
    leader.shutdown.cancel();
    let error = leader.ended(seconds(11)).await.unwrap_err();
    assert!(matches!(error, LeaseError::NotReleased(_)), "{error}");
    world.stage.hand_over(seconds(20)).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_survives_a_change_of_the_metadata() {
    let world = World::new();
    let [mut leader, _second, _third] = world.three(1).await;
    world
        .api
        .edit(|lease| lease["metadata"]["labels"] = json!({"team": "a"}));
    leader.shutdown.cancel();
    leader.ended(seconds(1)).await.unwrap();
    assert_eq!(world.api.spec().get("holderIdentity"), None);
}

#[tokio::test(start_paused = true)]
async fn a_follower_ends_at_once_and_changes_nothing() {
    let world = World::new();
    let [_leader, mut follower, _third] = world.three(1).await;
    follower.set(Link::Silent);
    sleep(seconds(3)).await;
    let before = world.api.spec();
    follower.shutdown.cancel();
    follower.ended(Duration::from_millis(10)).await.unwrap();
    assert_eq!(world.api.spec()["holderIdentity"], before["holderIdentity"]);
}

/// Leadership ends at the renew deadline, and with it all actions, 5 s before anybody else begins.
#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_its_lease_expires() {
    let links = [
        Link::Down,
        Link::ReadOnly,
        Link::Silent,
        Link::RepliesLost,
        Link::Slow(seconds(6), seconds(0)),
        Link::Slow(seconds(0), seconds(6)),
    ];
    for (seed, link) in (0..).zip(links) {
        let world = World::new();
        let [mut leader, _second, _third] = world.three(seed).await;
        sleep(seconds(60)).await;
        let broken_at = Instant::now();
        leader.set(link);
        let error = leader.ended(seconds(11)).await.unwrap_err();
        assert!(matches!(error, LeaseError::RenewDeadline { .. }), "{link:?}: {error}");
        assert!(leader.lost.is_cancelled());
        assert!(!leader.leads());
        let acted_for = world.stage.last().unwrap().2 - broken_at;
        assert!(acted_for <= seconds(10), "{link:?}: acted for {acted_for:?}");
        // Writes whose answers are lost renew the lease for the others.
        world.stage.hand_over(seconds(20)).await;
        let gap = world.stage.gap();
        assert!(gap >= MARGIN, "{link:?}: only {gap:?} between the leaders");
    }
}

/// An answer that comes late proves what was true when the request was sent.
#[tokio::test(start_paused = true)]
async fn slow_answers_do_not_lengthen_leadership() {
    let world = World::new();
    let [mut leader, _second, _third] = world.three(1).await;
    leader.set(Link::Slow(seconds(0), seconds(4)));
    sleep(seconds(60)).await;
    assert!(leader.leads());
    let renewed = world.api.spec()["renewTime"].clone();
    until(seconds(10), || world.api.spec()["renewTime"] != renewed).await;
    // This renewal has happened, and is answered in 4 s; no other will be.
    leader.set(Link::Silent);
    let error = leader.ended(seconds(10)).await.unwrap_err();
    assert!(matches!(error, LeaseError::RenewDeadline { .. }), "{error}");
    world.stage.hand_over(seconds(20)).await;
    assert!(world.stage.gap() >= MARGIN, "{:?}", world.stage.gap());
}

#[tokio::test(start_paused = true)]
async fn when_the_api_server_hangs_for_all_nobody_leads_until_it_is_back() {
    let world = World::new();
    let mut replicas = world.three(1).await;
    for replica in &replicas {
        replica.set(Link::Silent);
    }
    let hung_at = Instant::now();
    assert!(replicas[0].ended(seconds(10)).await.is_err());
    assert!(hung_at.elapsed() <= seconds(10));
    sleep(seconds(600)).await;
    assert_eq!(world.stage.count(), 1);
    for replica in &replicas {
        replica.set(Link::Up);
    }
    // The hanging calls time out, the followers see a last renewal that they did not know, and wait for it to expire.
    world.stage.hand_over(seconds(23)).await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_leader_may_not_act_when_it_wakes() {
    let world = World::new();
    let [mut leader, _second, _third] = world.three(1).await;
    sleep(seconds(20)).await;
    // The keeper stands still; the actor asks before each action, and is told that time is up.
    leader.suspended.send_replace(true);
    let suspended_at = Instant::now();
    world.stage.hand_over(seconds(20)).await;
    assert!(world.stage.gap() >= MARGIN);
    assert!(suspended_at.elapsed() > seconds(10));
    assert!(!leader.lost.is_cancelled(), "the keeper has not run");

    sleep(seconds(60)).await;
    leader.suspended.send_replace(false);
    let error = leader.ended(seconds(1)).await.unwrap_err();
    assert!(matches!(error, LeaseError::RenewDeadline { .. }), "{error}");
    assert!(leader.lost.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_costs_nobody_the_lease() {
    let world = World::new();
    let [leader, _second, _third] = world.three(1).await;
    for _ in 0..20 {
        leader.set(Link::NextReplyLost);
        sleep(seconds(30)).await;
    }
    assert!(leader.leads());
    assert_eq!(world.stage.count(), 1);
    assert_eq!(world.api.spec()["leaseTransitions"], json!(0));
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_whose_answer_was_lost_is_recognized() {
    let world = World::new();
    let replica = world.start_with("a", 1, Link::NextReplyLost, seconds(0));
    // One call timeout, one pause.
    world.stage.hand_over(seconds(8)).await;
    assert!(replica.leads());
    assert_eq!(world.api.spec()["leaseTransitions"], json!(0));
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_metadata_are_no_sign_of_life_and_no_reason_to_stop() {
    let world = World::new();
    let [leader, _second, _third] = world.three(1).await;
    let api = Arc::clone(&world.api);
    let labelling = tokio::spawn(async move {
        for number in 0_u32.. {
            sleep(Duration::from_millis(700)).await;
            api.edit(|lease| lease["metadata"]["labels"] = json!({"n": number.to_string()}));
        }
    });
    sleep(seconds(300)).await;
    assert_eq!(world.stage.count(), 1);
    leader.kill();
    world.stage.hand_over(seconds(25)).await;
    labelling.abort();
}

#[tokio::test(start_paused = true)]
async fn wall_clocks_do_not_matter() {
    for time in ["1970-01-01T00:00:00.000000Z", "2999-12-31T23:59:59.999999Z"] {
        let world = World::new();
        let dead = world.start("dead", 1);
        world.stage.hand_over(seconds(5)).await;
        dead.kill();
        world.api.edit(|lease| {
            lease["spec"]["renewTime"] = json!(time);
            lease["spec"]["acquireTime"] = json!(time);
        });
        let started_at = Instant::now();
        let _next = world.start("next", 2);
        world.stage.hand_over(seconds(20)).await;
        let waited = started_at.elapsed();
        assert!((seconds(15)..seconds(16)).contains(&waited), "{time}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_replicas_with_the_same_name_are_two_candidates() {
    let world = World::new();
    let (first, second) = (world.start("same", 7), world.start("same", 7));
    sleep(seconds(300)).await;
    assert_eq!(world.stage.count(), 1);
    assert!(first.leads() != second.leads());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_ends_leadership_and_is_still_waited_for() {
    let world = World::new();
    let [mut leader, _second, _third] = world.three(1).await;
    sleep(seconds(30)).await;
    // The worst moment: the leader cannot find out.
    leader.set(Link::Silent);
    world.api.delete();
    assert!(leader.ended(seconds(10)).await.is_err());
    world.stage.hand_over(seconds(10)).await;
    assert!(world.stage.gap() >= MARGIN - seconds(3), "{:?}", world.stage.gap());

    let world = World::new();
    let [mut leader, _second, _third] = world.three(2).await;
    sleep(seconds(5)).await;
    world.api.delete();
    let error = leader.ended(seconds(3)).await.unwrap_err();
    assert!(matches!(error, LeaseError::Deleted), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_stops_when_the_lease_names_another() {
    for (holder, expected) in [(json!("else"), Some("else".to_owned())), (json!(null), None)] {
        let world = World::new();
        let [mut leader, _second, _third] = world.three(1).await;
        world.api.edit(|lease| lease["spec"]["holderIdentity"] = holder);
        match leader.ended(seconds(3)).await.unwrap_err() {
            LeaseError::TakenOver { holder } if expected.is_some() => assert_eq!(holder, expected),
            LeaseError::TakenOver { .. } if expected.is_none() => {}
            error => panic!("{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_lease_is_left_alone_until_it_is_repaired() {
    for (field, bad) in [
        ("leaseDurationSeconds", json!(0)),
        ("leaseTransitions", json!(-3)),
        ("renewTime", json!("bad time")),
        ("holderIdentity", json!(5)),
    ] {
        let world = World::new();
        let other = world.start("other", 1);
        world.stage.hand_over(seconds(5)).await;
        other.kill();
        let mut good = Value::Null;
        world
            .api
            .edit(|lease| good = std::mem::replace(&mut lease["spec"][field], bad));
        let before = world.api.spec();
        let mut replica = world.start("a", 2);
        sleep(seconds(600)).await;
        assert_eq!(world.api.spec(), before, "{field}");
        assert_eq!(
            *replica.leadership.borrow_and_update(),
            Leadership::Follower { holder: None }
        );
        world.api.edit(|lease| lease["spec"][field] = good);
        world.stage.hand_over(seconds(20)).await;
        assert!(replica.leads());
    }
}

#[tokio::test(start_paused = true)]
async fn absent_fields_are_tolerated() {
    let world = World::new();
    world.start("other", 1).kill();
    world.api.put(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": NAME, "namespace": "kube-system", "uid": "by-hand"},
    }));
    let _replica = world.start("a", 1);
    world.stage.hand_over(seconds(1)).await;
    let spec = world.api.spec();
    assert_eq!(spec["leaseTransitions"], json!(1));
    assert!(spec["acquireTime"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_keeper_ends_leadership_for_everybody() {
    let world = World::new();
    let [leader, _second, _third] = world.three(1).await;
    leader.keeper.abort();
    leader.lost.cancelled().await;
    assert!(!leader.leads());
}

/// Links fail at random, replicas are suspended, killed and shut down, and start again. The stage fails the test when
/// two leaders overlap.
#[tokio::test(start_paused = true)]
async fn random_faults_never_make_two_leaders() {
    let mut handovers = 0;
    for seed in 0..30 {
        let mut dice = Dice::new(seed);
        let world = World::new();
        let mut replicas = ["a", "b", "c"].map(|name| world.start(name, seed));
        for _ in 0..100 {
            let index = usize::try_from(dice.below(3)).unwrap();
            let replica = &mut replicas[index];
            match dice.below(12) {
                0 => replica.set(Link::Down),
                1 => replica.set(Link::ReadOnly),
                2 => replica.set(Link::Silent),
                3 => replica.set(Link::RepliesLost),
                4 => replica.set(Link::NextReplyLost),
                5 | 6 => {
                    let mut time = || Duration::from_millis(dice.below(12_000));
                    replica.set(Link::Slow(time(), time()));
                }
                7 => {
                    let suspended = *replica.suspended.borrow();
                    replica.suspended.send_replace(!suspended);
                }
                8 => replica.kill(),
                9 => replica.shutdown.cancel(),
                _ => replica.set(Link::Up),
            }
            sleep(Duration::from_millis(dice.below(8_000))).await;
            for (index, name) in ["a", "b", "c"].iter().enumerate() {
                if replicas[index].keeper.is_finished() {
                    replicas[index] = world.start(name, dice.below(1000));
                }
            }
        }
        for replica in &replicas {
            replica.set(Link::Up);
            replica.suspended.send_replace(false);
        }
        // Whoever leads now, or takes over, is the leader in the end.
        sleep(seconds(60)).await;
        let leaders = replicas.iter().filter(|replica| replica.leads()).count();
        let alive = replicas.iter().filter(|replica| !replica.keeper.is_finished()).count();
        assert!(leaders == 1 || alive == 0, "seed {seed}: {leaders} leaders of {alive}");
        handovers += world.stage.count();
    }
    assert!(handovers > 30 * 3, "only {handovers} tenures");
}
