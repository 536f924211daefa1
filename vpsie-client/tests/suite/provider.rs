//! The client as the autoscaler's port to the cloud.

use std::time::Duration;

use autoscaler_core::{
    provider::{
        ClientToken, CloudProvider, CreateInstance, DatacenterId, InstanceId, InstanceState, OfferingId,
        ProviderErrorKind, UserData,
    },
    quantity::{Bytes, HourlyPrice, MilliCpu},
};
use vpsie_client::{
    VmProvider, convert_offerings,
    mock::{CreateReply, Fault, MockVm, MockVpsie, Route, Times},
    read_offerings,
};

use crate::{client, mock};

fn provider(mock: &MockVpsie) -> VmProvider {
    VmProvider::new(client(mock, |_| {}))
}

fn order(token: &str) -> CreateInstance {
    CreateInstance {
        token: ClientToken::new(token),
        cluster: "c1".to_owned(),
        hostname: format!("web-{token}"),
        offering: OfferingId::new("small-2"),
        datacenter: DatacenterId::new("dc-2"),
        project: None,
        image: None,
        ssh_keys: Vec::new(),
        tags: vec!["blue".to_owned()],
        notes: None,
        user_data: Some(UserData::new("#cloud-config")),
    }
}

#[tokio::test(start_paused = true)]
async fn a_vm_carries_token_and_cluster() {
    let mock = mock(|_| {});
    mock.add_vm(MockVm::foreign("someone-elses"));
    let provider = provider(&mock);
    let made = provider.create(&order("t1")).await.unwrap();
    assert_eq!(made.state, InstanceState::Provisioning);
    mock.wait_for(|vms| vms.iter().all(|vm| vm.status == "running")).await;
    let list = provider.instances().await.unwrap();
    assert_eq!(list.instances.len(), 2);
    assert_eq!((list.instances[0].token(), list.instances[0].cluster()), (None, None));
    let mine = &list.instances[1];
    assert_eq!((&mine.id, mine.state), (&made.id, InstanceState::Running));
    assert_eq!(
        (mine.token(), mine.cluster()),
        (Some(ClientToken::new("t1")), Some("c1"))
    );
    assert_eq!(
        (mine.offering.clone(), mine.datacenter.clone()),
        (Some(OfferingId::new("small-2")), Some(DatacenterId::new("dc-2")))
    );
    assert!(mine.tags.contains(&"blue".to_owned()) && mine.created_at.is_some() && mine.addresses.len() == 2);
}

#[tokio::test(start_paused = true)]
async fn a_create_with_a_lost_reply_is_found_by_its_token() {
    let mock = mock(|_| {});
    let provider = provider(&mock);
    mock.inject(Route::CreateVm, Fault::LoseReply, Times::Next(1));
    let error = provider.create(&order("t1")).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Timeout { outcome_unknown: true });
    let list = provider.instances().await.unwrap();
    let found: Vec<_> = list
        .instances
        .iter()
        .filter(|instance| instance.token() == Some(ClientToken::new("t1")))
        .collect();
    assert_eq!(found.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_order_taken_without_identifier_is_found_by_its_token() {
    let mock = mock(|config| config.create_reply = CreateReply::True);
    let provider = provider(&mock);
    provider.create(&order("t1")).await.unwrap();
    let made = provider.create(&order("t2")).await.unwrap();
    assert_eq!((made.id, made.hostname), (InstanceId::new("1001"), "web-t2".to_owned()));
    // A list that lags behind leaves it unknown, and never leads to a second order.
    mock.configure(|config| config.list_delay = Duration::from_secs(30));
    let error = provider.create(&order("t3")).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Timeout { outcome_unknown: true });
    assert_eq!((mock.requests(Route::CreateVm), mock.vms().len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn one_instance_is_there_or_in_so_many_words_not() {
    let mock = mock(|_| {});
    let provider = provider(&mock);
    let vm = InstanceId::new(mock.add_vm(MockVm::foreign("a")));
    assert_eq!(provider.instance(&vm).await.unwrap().unwrap().hostname, "a");
    assert!(provider.instance(&InstanceId::new("9")).await.unwrap().is_none());
    mock.inject(
        Route::GetVm,
        Fault::Status {
            status: 404,
            body: "404 page not found".to_owned(),
            retry_after: None,
        },
        Times::Next(1),
    );
    assert_eq!(
        provider.instance(&vm).await.unwrap_err().kind,
        ProviderErrorKind::Malformed
    );
    assert_eq!(
        provider.instance(&InstanceId::new("../x")).await.unwrap_err().kind,
        ProviderErrorKind::InvalidRequest
    );
    provider.delete(&vm).await.unwrap();
    mock.wait_for(<[MockVm]>::is_empty).await;
    assert_eq!(
        provider.delete(&vm).await.unwrap_err().kind,
        ProviderErrorKind::NotFound
    );
}

#[tokio::test(start_paused = true)]
async fn catalogue_is_in_exact_units() {
    let mock = mock(|config| config.offerings[1].datacenter_id = Some("dc-2".to_owned()));
    let provider = provider(&mock);
    let offerings = provider.offerings().await.unwrap();
    assert_eq!(offerings.len(), 6);
    let small = &offerings[1];
    assert_eq!(
        (small.cpu, small.memory, small.disk),
        (MilliCpu(2000), Bytes(4 * Bytes::GIB), Bytes(80 * Bytes::GIB))
    );
    assert_eq!(small.hourly_price, HourlyPrice::from_nanos(30_000_000));
    assert_eq!(small.datacenter, Some(DatacenterId::new("dc-2")));
    let active: Vec<_> = provider
        .datacenters()
        .await
        .unwrap()
        .into_iter()
        .map(|datacenter| datacenter.active)
        .collect();
    assert_eq!(active, [true, true, false]);
}

#[test]
fn a_missing_hourly_price_is_a_730th_of_the_monthly_one() {
    let offerings = |json: &str| convert_offerings(&read_offerings(json.as_bytes()).unwrap());
    let one = |price: &str| format!(r#"{{"data": [{{"id": 1, "cpu": 1, "ram": 1024, "disk": 10, {price}}}]}}"#);
    for price in [
        r#""price": 7.3"#,
        r#""price": "7.3", "hourly_price": null"#,
        r#""price": 7.3, "hourly_price": 0"#,
    ] {
        assert_eq!(
            offerings(&one(price)).unwrap()[0].hourly_price,
            HourlyPrice::from_nanos(10_000_000),
            "{price}"
        );
    }
    assert_eq!(
        offerings(&one(r#""price": 7.3, "hourly_price": 0.02"#)).unwrap()[0].hourly_price,
        HourlyPrice::from_nanos(20_000_000)
    );
    // Nothing that can be used is an error, an empty catalogue is not.
    assert!(offerings(&one(r#""price": null"#)).is_err());
    assert!(offerings(r#"{"data": [{"id": 1}]}"#).is_err());
    assert!(offerings(r#"{"data": []}"#).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn kinds_of_errors_survive() {
    let mock = mock(|config| config.worker_limit = Some(0));
    let provider = provider(&mock);
    let error = provider.create(&order("t1")).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Capacity { limit: Some(0) });
    assert_eq!(
        error.to_string(),
        "create VM web-t1: Worker nodes count exceeds the allowed limit 0"
    );
    for (status, expected) in [
        (403, ProviderErrorKind::Forbidden),
        (400, ProviderErrorKind::InvalidRequest),
        (500, ProviderErrorKind::Transient),
        (409, ProviderErrorKind::Conflict),
    ] {
        mock.inject(Route::ListVms, Fault::error(status, "no"), Times::Always);
        assert_eq!(provider.instances().await.unwrap_err().kind, expected);
        mock.clear_faults();
    }
}
