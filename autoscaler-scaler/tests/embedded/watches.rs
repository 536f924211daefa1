//! Watches, raw and through the watcher of kube.

use std::time::Duration;

use autoscaler_scaler::embedded::Cluster;
use futures::StreamExt;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::ResourceExt;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use kube::api::WatchEvent;
use kube::api::WatchParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use serde_json::json;

use crate::config;

#[tokio::test(start_paused = true)]
async fn a_watch_translates_objects_that_move_through_its_selector() {
    let cluster = Cluster::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let start = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let params = WatchParams::default().labels("team=a").timeout(30);
    let mut events = std::pin::pin!(maps.watch(&params, &start).await.unwrap());
    maps.create(&PostParams::default(), &config("m", json!({})))
        .await
        .unwrap();
    for team in ["a", "a2", "a", "b"] {
        let patch = Patch::Merge(
            json!({ "metadata": { "labels": { "team": team.trim_end_matches('2') }, "annotations": { "n": team } } }),
        );
        maps.patch("m", &PatchParams::default(), &patch).await.unwrap();
    }
    let mut seen = Vec::new();
    while let Some(event) = events.try_next().await.unwrap() {
        seen.push(match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            WatchEvent::Bookmark(_) => "bookmark",
            WatchEvent::Error(_) => "error",
        });
    }
    assert_eq!(seen.pop(), Some("bookmark"), "a bookmark comes before the end");
    assert_eq!(seen, ["added", "modified", "modified", "deleted"]);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_survives_expiry_restarts_and_streams_its_first_list() {
    for settings in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let cluster = Cluster::new();
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        maps.create(&PostParams::default(), &config("old", json!({})))
            .await
            .unwrap();
        let mut events = watcher(maps.clone(), settings).default_backoff().boxed();
        let mut seen = Vec::new();
        let mut next = async |seen: &mut Vec<String>| {
            let event = events.try_next().await.unwrap().unwrap();
            seen.push(match event {
                watcher::Event::Init => "init".to_owned(),
                watcher::Event::InitDone => "done".to_owned(),
                watcher::Event::InitApply(map) | watcher::Event::Apply(map) => map.name_any(),
                watcher::Event::Delete(map) => format!("-{}", map.name_any()),
            });
        };
        for _ in 0..3 {
            next(&mut seen).await;
        }
        maps.create(&PostParams::default(), &config("new", json!({})))
            .await
            .unwrap();
        next(&mut seen).await;
        // The position of the watch is forgotten while it is behind: it ends with 410 and the watcher lists again.
        maps.delete("old", &DeleteParams::default()).await.unwrap();
        cluster.compact();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(60), events.next()).await {
            match event {
                Err(watcher::Error::WatchError(error)) => seen.push(error.code.to_string()),
                Err(other) => panic!("{other}"),
                Ok(watcher::Event::InitApply(map)) => seen.push(map.name_any()),
                Ok(watcher::Event::InitDone) => seen.push("done".to_owned()),
                Ok(watcher::Event::Init) => seen.push("init".to_owned()),
                Ok(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, ["init", "old", "done", "new", "410", "init", "new", "done"]);
    }
}
