//! The client: one method per endpoint.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use serde_json::Value;
use tower::Service;

use crate::{
    breaker::BreakerState,
    call::{Call, Caller},
    config::{Config, Credentials},
    dialect::Dialect,
    error::{Error, ErrorKind},
    exchange::Exchange,
    model::{CreateVm, Datacenter, Offering, Vm, VmId},
    observe::{Event, Observer},
    page::{List, Next, Page, Pages},
    reply::Nature,
    transport::{self, BoxError, RequestBody, Transport},
    wire::Fields,
};

/// A client of the VPSie API.
///
/// Cheap to clone; clones share connections, token, rate limit and circuit breaker. Use one client per set of
/// credentials. Dropping the future of a call gives it up; a create that is given up may still be carried out.
#[derive(Clone)]
pub struct Client {
    caller: Arc<Caller>,
    dialect: Arc<Dialect>,
}

/// Makes a [`Client`] with another transport, or one that tells about its work.
pub struct ClientBuilder {
    config: Config,
    transport: Option<Transport>,
    observer: Observer,
}

/// How often a list that changes while it is read is started again.
const MOST_LIST_RESTARTS: usize = 3;

// === impl Client ===

impl Client {
    /// A client that talks over TCP, with rustls and the certificates of the system.
    ///
    /// # Errors
    /// `InvalidRequest` when the settings are impossible or no certificates can be loaded.
    pub fn new(config: Config) -> Result<Self, Error> {
        Self::builder(config).build()
    }

    /// A client with more to choose.
    #[must_use]
    pub fn builder(config: Config) -> ClientBuilder {
        ClientBuilder {
            config,
            transport: None,
            observer: Observer::default(),
        }
    }

    /// Every VM of the account, those of others too, from all pages.
    ///
    /// When the count changes while pages are read, the list is read again; a VM that goes while another comes within
    /// the same reading can still shift one entry past the seam of two pages. Whoever concludes from an absence should
    /// see it twice, or ask for the VM by its identifier.
    ///
    /// # Errors
    /// Any kind but `Capacity`, `Quota`, `NotFound` and an unknown outcome. `Malformed` when the answer is not a list or
    /// is less than it says: what cannot be understood is never an empty list.
    pub async fn vms(&self) -> Result<List<Vm>, Error> {
        self.list("list_vms", "list VMs", &self.dialect.endpoints.vms, |fields| {
            Vm::read(fields, &self.dialect.id_fields)
        })
        .await
    }

    /// One VM.
    ///
    /// # Errors
    /// `NotFound` when the API says in so many words that the VM does not exist; a 404 from a gateway is `Malformed`.
    /// Otherwise as [`vms`](Self::vms).
    pub async fn vm(&self, id: &VmId) -> Result<Vm, Error> {
        let call = Call {
            operation: format!("get VM {id}"),
            name: "get_vm",
            nature: Nature::Get,
            method: Method::GET,
            path: self.path_of(id),
            body: None,
            secrets: Vec::new(),
        };
        let body = self.caller.call(&call, self.caller.deadline()).await?;
        match Vm::read_answer(&body, &self.dialect.id_fields) {
            Some(Ok(vm)) if vm.id == *id => Ok(vm),
            Some(Ok(vm)) => Err(Error::malformed(
                &call.operation,
                format!("the answer is about VM {}", vm.id),
            )),
            Some(Err(problem)) => Err(Error::malformed(&call.operation, problem)),
            None => Err(Error::malformed(&call.operation, "the answer holds no VM")),
        }
    }

    /// Asks for one VM. `None` when the API took the order and did not say which VM it will be: find it in the list,
    /// by host name or tag.
    ///
    /// This is never repeated after it may have been carried out.
    ///
    /// # Errors
    /// Every kind. After [`is_outcome_unknown`](Error::is_outcome_unknown) the VM may exist: look for it before trying
    /// again.
    pub async fn create_vm(&self, request: &CreateVm) -> Result<Option<Vm>, Error> {
        let call = Call {
            operation: format!("create VM {}", request.hostname),
            name: "create_vm",
            nature: Nature::Create,
            method: Method::POST,
            path: self.dialect.endpoints.vms.clone(),
            body: Some(request.to_json()),
            secrets: request.secrets(),
        };
        let body = self.caller.call(&call, self.caller.deadline()).await?;
        // A VM that cannot be read was created all the same: the list will tell.
        Ok(Vm::read_answer(&body, &self.dialect.id_fields).and_then(Result::ok))
    }

    /// Asks for the deletion of one VM. Success means that the API took the order, not that the VM is gone.
    ///
    /// # Errors
    /// `NotFound` when the VM does not exist (any more). Every other kind but `Capacity` and `Quota`.
    pub async fn delete_vm(&self, id: &VmId) -> Result<(), Error> {
        let call = Call {
            operation: format!("delete VM {id}"),
            name: "delete_vm",
            nature: Nature::Delete,
            method: Method::DELETE,
            path: self.path_of(id),
            body: None,
            secrets: Vec::new(),
        };
        self.caller.call(&call, self.caller.deadline()).await.map(drop)
    }

    /// Sizes for sale, with prices.
    ///
    /// # Errors
    /// As [`vms`](Self::vms).
    pub async fn offerings(&self) -> Result<List<Offering>, Error> {
        let path = &self.dialect.endpoints.offerings;
        self.list("list_offerings", "list offerings", path, |fields| {
            Offering::read(fields, &self.dialect.id_fields)
        })
        .await
    }

    /// Places to create VMs in.
    ///
    /// # Errors
    /// As [`vms`](Self::vms).
    pub async fn datacenters(&self) -> Result<List<Datacenter>, Error> {
        let path = &self.dialect.endpoints.datacenters;
        self.list("list_datacenters", "list datacenters", path, |fields| {
            Datacenter::read(fields, &self.dialect.id_fields)
        })
        .await
    }

    /// Replaces the credentials. Requests under way end with the old ones; every later one uses the new ones.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.caller.auth.set_credentials(credentials);
    }

    /// What the circuit breaker is doing.
    #[must_use]
    pub fn breaker_state(&self) -> BreakerState {
        self.caller.breaker_state()
    }

    fn path_of(&self, id: &VmId) -> String {
        format!("{}/{id}", self.dialect.endpoints.vms)
    }

    async fn list<T>(
        &self,
        name: &'static str,
        operation: &str,
        path: &str,
        read: impl Fn(Fields<'_>) -> Result<T, String>,
    ) -> Result<List<T>, Error> {
        let deadline = self.caller.deadline();
        for _ in 0..=MOST_LIST_RESTARTS {
            let mut pages = Pages::new(&self.dialect.id_fields);
            let mut number = 0;
            loop {
                let query = self.dialect.paging.query(number, pages.len(), self.dialect.page_size);
                let page_size = query.as_ref().map(|_| self.dialect.page_size);
                let call = Call {
                    operation: operation.to_owned(),
                    name,
                    nature: Nature::List,
                    method: Method::GET,
                    path: query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")),
                    body: None,
                    secrets: Vec::new(),
                };
                let body = self.caller.call(&call, deadline).await?;
                match pages.add(Page::read(body, operation)?, page_size, operation)? {
                    Next::Complete => return Ok(pages.read_entries(operation, read)),
                    Next::Page(next) => number = next,
                    Next::Changed => break,
                }
            }
            tracing::debug!(operation, "the list changed while it was read, reading it again");
        }
        Err(Error::new(
            ErrorKind::Transient,
            operation,
            "the list keeps changing while it is read",
        ))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("dialect", &self.dialect)
            .field("breaker", &self.breaker_state())
            .finish_non_exhaustive()
    }
}

// === impl ClientBuilder ===

impl ClientBuilder {
    /// Sends requests into this service instead of the network, for example into the router of a mock server in the
    /// same process. It must not follow redirects.
    ///
    /// An error of the service counts as "the request may have been carried out", except a refused connection.
    #[must_use]
    pub fn transport<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.transport = Some(transport::erase(service));
        self
    }

    /// Calls this for every [`Event`], from the task in which it happens: it should be quick.
    #[must_use]
    pub fn on_event(mut self, callback: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.observer = Observer(Some(Arc::new(callback)));
        self
    }

    /// Checks the settings and makes the client. No request is sent.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn build(self) -> Result<Client, Error> {
        let base = self.config.check()?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => transport::hyper(base.tls, self.config.connect_timeout).map_err(|error| {
                Error::new(
                    ErrorKind::InvalidRequest,
                    "configure the VPSie client",
                    "no TLS certificates can be loaded",
                )
                .with_source(error)
            })?,
        };
        let exchange = Exchange::new(&self.config, base, transport, self.observer);
        let dialect = Arc::new(self.config.dialect.clone());
        Ok(Client {
            caller: Arc::new(Caller::new(&self.config, exchange)),
            dialect,
        })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("config", &self.config)
            .field("observer", &self.observer)
            .finish_non_exhaustive()
    }
}

/// Reads a saved answer of the offerings endpoint, for example for planning without the API.
///
/// # Errors
/// `Malformed` when it is not JSON or not a list of offerings, or when the answer says that it is an error.
pub fn read_offerings(json: &[u8]) -> Result<List<Offering>, Error> {
    let operation = "read offerings";
    let body: Value = serde_json::from_slice(json).map_err(|error| Error::malformed(operation, error.to_string()))?;
    let id_fields = Dialect::default().id_fields;
    let mut pages = Pages::new(&id_fields);
    pages.add(Page::read(body, operation)?, None, operation)?;
    Ok(pages.read_entries(operation, |fields| Offering::read(fields, &id_fields)))
}
