//! Lists: pages, shapes, bad entries; and one VM.

use std::time::Duration;

use tokio::time::advance;
use vpsie_client::{
    ErrorKind, Paging, VmStatus,
    mock::{Fault, HostnameCase, ListCount, MockVm, Route, Times},
    read_offerings,
};

use crate::{client, id, mock, web};

#[tokio::test(start_paused = true)]
async fn all_pages_are_read_in_every_dialect_of_paging() {
    let by_page = Paging::default();
    let by_offset = Paging::Offset {
        offset: "offset".to_owned(),
        limit: "limit".to_owned(),
    };
    for paging in [by_page, by_offset] {
        for count in [ListCount::Pagination, ListCount::Total, ListCount::Nothing] {
            for vms in [0, 1, 7, 8, 9, 25] {
                let mock = mock(|config| config.list_count = count);
                for n in 0..vms {
                    mock.add_vm(MockVm::foreign(format!("vm-{n}")));
                }
                let client = client(&mock, |config| {
                    config.dialect.paging = paging.clone();
                    config.dialect.page_size = 8;
                });
                let list = client.vms().await.unwrap();
                assert_eq!(
                    (list.items.len(), list.unreadable.len()),
                    (vms, 0),
                    "{paging:?} {count:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_with_smaller_pages_than_asked_for_is_read_to_the_end() {
    let mock = mock(|config| config.max_page_size = 3);
    for n in 0..10 {
        mock.add_vm(MockVm::foreign(format!("vm-{n}")));
    }
    assert_eq!(client(&mock, |_| {}).vms().await.unwrap().items.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_says_it_is_only_a_part_is_an_error() {
    let mock = mock(|config| config.max_page_size = 3);
    for n in 0..10 {
        mock.add_vm(MockVm::foreign(format!("vm-{n}")));
    }
    let error = client(&mock, |config| config.dialect.paging = Paging::None)
        .vms()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Malformed);
    assert!(error.message().contains("incomplete"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_changes_between_two_pages_is_read_again() {
    let mock = mock(|config| config.max_page_size = 3);
    for n in 0..5 {
        mock.add_vm(MockVm::foreign(format!("vm-{n}")));
    }
    let client = client(&mock, |_| {});
    client.datacenters().await.unwrap();
    // The answer to the first page is on its way for a second, and a VM of that page goes meanwhile: the entry on the
    // seam moves to the first page, where it would be missed.
    mock.inject(Route::ListVms, Fault::Delay(Duration::from_secs(1)), Times::Next(1));
    let (list, ()) = tokio::join!(client.vms(), async {
        while mock.requests(Route::ListVms) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(mock.remove("1001"));
    });
    let names: Vec<_> = list.unwrap().items.into_iter().map(|vm| vm.hostname).collect();
    assert_eq!(names, ["vm-0", "vm-2", "vm-3", "vm-4"]);
}

#[tokio::test(start_paused = true)]
async fn shapes_that_are_not_a_list_are_malformed_and_never_empty() {
    let mock = mock(|_| {});
    mock.add_vm(MockVm::foreign("a"));
    let client = client(&mock, |_| {});
    for body in [
        "",
        "<html></html>",
        "{}",
        "null",
        "true",
        r#"{"data": null}"#,
        r#"{"data": {"nodes": []}}"#,
        r#"{"data": [], "total": 1}"#,
        r#"{"vms": []}"#,
    ] {
        mock.inject(Route::ListVms, Fault::Body(body.to_owned()), Times::Next(1));
        assert_eq!(client.vms().await.unwrap_err().kind(), &ErrorKind::Malformed, "{body}");
    }
    mock.inject(Route::ListVms, Fault::EmptyList, Times::Next(1));
    assert!(client.vms().await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_bad_date_or_type_does_not_fail_a_list_and_a_bad_entry_is_reported() {
    let mock = mock(|_| {});
    let body = r#"{"error": false, "data": [
        {"id": "1", "hostname": "a", "status": "running", "created_at": "not a date", "tags": null},
        {"id": 2, "hostname": "b", "power": "1", "is_active": 1, "notes": null, "projectId": 7},
        {"hostname": "no-id"},
        {"id": "../../datacenters", "hostname": "escape"},
        "text"
    ], "total": "5"}"#;
    mock.inject(Route::ListVms, Fault::Body(body.to_owned()), Times::Next(1));
    let list = client(&mock, |_| {}).vms().await.unwrap();
    assert_eq!(
        list.items
            .iter()
            .map(|vm| (vm.hostname.as_str(), vm.status))
            .collect::<Vec<_>>(),
        [("a", VmStatus::Running), ("b", VmStatus::Running)]
    );
    assert_eq!(list.unreadable.len(), 3, "{:?}", list.unreadable);
}

#[tokio::test(start_paused = true)]
async fn status_200_with_an_error_is_an_error_on_every_call() {
    let mock = mock(|_| {});
    let client = client(&mock, |config| config.max_retries = 0);
    for route in [
        Route::ListVms,
        Route::ListOfferings,
        Route::ListDatacenters,
        Route::GetVm,
        Route::DeleteVm,
        Route::CreateVm,
    ] {
        mock.inject(route, Fault::error_with_status_200("something broke"), Times::Next(1));
    }
    let errors = [
        client.vms().await.unwrap_err(),
        client.offerings().await.unwrap_err(),
        client.datacenters().await.unwrap_err(),
        client.vm(&id("1000")).await.unwrap_err(),
        client.delete_vm(&id("1000")).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(
            (error.kind(), error.status()),
            (&ErrorKind::Transient, Some(200)),
            "{error}"
        );
        assert!(error.message().contains("something broke"));
    }
    assert!(client.create_vm(&web("a")).await.unwrap_err().is_outcome_unknown());
}

#[tokio::test(start_paused = true)]
async fn a_vm_goes_through_its_states() {
    let mock = mock(|config| {
        config.provision_delay = Duration::from_secs(10);
        config.delete_delay = Duration::from_secs(5);
    });
    let client = client(&mock, |_| {});
    let vm = client.create_vm(&web("a")).await.unwrap().unwrap();
    assert_eq!((vm.status, vm.addresses.len()), (VmStatus::Provisioning, 0));
    advance(Duration::from_secs(10)).await;
    let running = client.vm(&vm.id).await.unwrap();
    assert_eq!((running.status, running.addresses.len()), (VmStatus::Running, 2));
    assert!(mock.set_status("1000", "stopped"));
    assert_eq!(client.vm(&vm.id).await.unwrap().status, VmStatus::Stopped);
    client.delete_vm(&vm.id).await.unwrap();
    assert_eq!(client.vm(&vm.id).await.unwrap().status, VmStatus::Deleting);
    client.delete_vm(&vm.id).await.unwrap();
    advance(Duration::from_secs(5)).await;
    assert!(client.vm(&vm.id).await.unwrap_err().is_not_found());
    assert!(client.delete_vm(&vm.id).await.unwrap_err().is_not_found());
    assert!(client.vms().await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delay_without_end_leaves_a_vm_as_it_is() {
    let mock = mock(|config| config.provision_delay = Duration::MAX);
    let client = client(&mock, |_| {});
    client.create_vm(&web("a")).await.unwrap();
    advance(Duration::from_secs(86_400)).await;
    assert_eq!(client.vms().await.unwrap().items[0].status, VmStatus::Provisioning);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_state_ends_when_it_is_there() {
    let mock = mock(|config| config.provision_delay = Duration::from_secs(90));
    let client = client(&mock, |_| {});
    let start = tokio::time::Instant::now();
    tokio::join!(
        mock.wait_for(|vms| vms.iter().any(|vm| vm.status == "running")),
        async {
            client.create_vm(&web("a")).await.unwrap();
        }
    );
    assert_eq!(start.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_404_of_a_gateway_says_nothing_about_a_vm() {
    let mock = mock(|_| {});
    let vm = mock.add_vm(MockVm::foreign("a"));
    let wrong = client(&mock, |config| "/v3/vms".clone_into(&mut config.dialect.endpoints.vms));
    assert_eq!(wrong.vm(&id(&vm)).await.unwrap_err().kind(), &ErrorKind::Malformed);
    assert_eq!(
        wrong.delete_vm(&id(&vm)).await.unwrap_err().kind(),
        &ErrorKind::Malformed
    );
    assert_eq!(wrong.vms().await.unwrap_err().kind(), &ErrorKind::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_another_vm_is_malformed() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    mock.inject(
        Route::GetVm,
        Fault::Body(r#"{"data": {"id": 8, "hostname": "b"}}"#.to_owned()),
        Times::Next(1),
    );
    assert_eq!(client.vm(&id("7")).await.unwrap_err().kind(), &ErrorKind::Malformed);
}

#[tokio::test(start_paused = true)]
async fn host_names_may_change_their_case() {
    let mock = mock(|config| config.hostname_case = HostnameCase::Upper);
    let client = client(&mock, |_| {});
    client.create_vm(&web("web-1")).await.unwrap();
    assert_eq!(client.vms().await.unwrap().items[0].hostname, "WEB-1");
}

#[tokio::test(start_paused = true)]
async fn a_saved_answer_of_the_offerings_endpoint_is_read_without_the_api() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    let live = client.offerings().await.unwrap();
    assert_eq!(live.items, vpsie_client::mock::MockConfig::default_offerings());
    let saved = read_offerings(br#"{"data": [{"id": "a", "name": "A", "cpu": 1, "ram": 1024, "disk": 20, "hourly_price": 0.01}], "pagination": {"total": 1}}"#).unwrap();
    assert_eq!(saved.items[0].memory_mib, 1024);
    for bad in [&b"{"[..], b"{}", br#"{"data": true}"#] {
        assert_eq!(read_offerings(bad).unwrap_err().kind(), &ErrorKind::Malformed);
    }
}
