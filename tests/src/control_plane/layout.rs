//! The files, the addresses and the command lines of one control plane.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;

use http::Uri;
use serde_json::json;

use super::Error;
use super::Program;
use super::certificates::Certificates;

/// What is decided about a control plane before its first process starts.
#[derive(Debug)]
pub(super) struct Layout {
    folder: PathBuf,
    certificates: Certificates,
    etcd: Uri,
    etcd_peers: Uri,
    api_server: Uri,
    controller_manager: Uri,
    scheduler: Uri,
}

impl Layout {
    /// Picks free ports, and writes the certificates and the kubeconfig into `folder`.
    pub(super) fn write(folder: &Path) -> Result<Self, Error> {
        let [etcd, etcd_peers, api_server, controller_manager, scheduler] = free_ports()?;
        let layout = Self {
            folder: folder.to_owned(),
            certificates: Certificates::write(folder)?,
            etcd: local_url("http", etcd)?,
            etcd_peers: local_url("http", etcd_peers)?,
            api_server: local_url("https", api_server)?,
            controller_manager: local_url("https", controller_manager)?,
            scheduler: local_url("https", scheduler)?,
        };
        layout.write_kubeconfig()?;
        Ok(layout)
    }

    /// The kubeconfig with all permissions.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Address and path that answer 200 when `program` is ready.
    pub(super) fn health(&self, program: Program) -> (Uri, &'static str) {
        match program {
            Program::Etcd => (self.etcd.clone(), "/health"),
            Program::KubeApiserver => (self.api_server.clone(), "/readyz"),
            Program::KubeControllerManager => (self.controller_manager.clone(), "/healthz"),
            Program::KubeScheduler => (self.scheduler.clone(), "/readyz"),
        }
    }

    /// The flags of `program`.
    pub(super) fn flags(&self, program: Program) -> Vec<String> {
        match program {
            Program::Etcd => self.etcd_flags(),
            Program::KubeApiserver => self.api_server_flags(),
            Program::KubeControllerManager => {
                let mut flags = self.controller_flags(&self.controller_manager);
                let key = self.certificates.service_account_key.display();
                flags.push(format!("--service-account-private-key-file={key}"));
                flags.push(format!("--root-ca-file={}", self.certificates.authority.display()));
                flags
            }
            Program::KubeScheduler => self.controller_flags(&self.scheduler),
        }
    }

    fn etcd_flags(&self) -> Vec<String> {
        // A URL has a slash at its end once it was parsed, which etcd refuses.
        let clients = self.etcd.to_string().trim_end_matches('/').to_owned();
        let peers = self.etcd_peers.to_string().trim_end_matches('/').to_owned();
        vec![
            format!("--data-dir={}", self.folder.join("etcd").display()),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            // The data lives as long as the test.
            "--unsafe-no-fsync".to_owned(),
        ]
    }

    fn api_server_flags(&self) -> Vec<String> {
        let certificates = &self.certificates;
        let mut flags = vec![
            format!("--etcd-servers={}", self.etcd.to_string().trim_end_matches('/')),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--client-ca-file={}", certificates.authority.display()),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!(
                "--service-account-key-file={}",
                certificates.service_account_public_key.display()
            ),
            format!(
                "--service-account-signing-key-file={}",
                certificates.service_account_key.display()
            ),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            // Pods of the tests need no service account, and nothing mounts its token.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            // Nothing reaches the API server through a Service.
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        flags.extend(self.server_flags(&self.api_server));
        flags
    }

    /// Flags that kube-controller-manager and kube-scheduler share.
    fn controller_flags(&self, address: &Uri) -> Vec<String> {
        let kubeconfig = self.kubeconfig();
        let kubeconfig = kubeconfig.display();
        let mut flags = vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--leader-elect=false".to_owned(),
        ];
        flags.extend(self.server_flags(address));
        flags
    }

    fn server_flags(&self, address: &Uri) -> Vec<String> {
        vec![
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", address.port_u16().unwrap_or_default()),
            format!("--tls-cert-file={}", self.certificates.server.display()),
            format!("--tls-private-key-file={}", self.certificates.server_key.display()),
        ]
    }

    fn write_kubeconfig(&self) -> Result<(), Error> {
        // JSON is YAML.
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "clusters": [{"name": "test", "cluster": {
                "server": self.api_server.to_string(),
                "certificate-authority": self.certificates.authority,
            }}],
            "users": [{"name": "admin", "user": {
                "client-certificate": self.certificates.admin,
                "client-key": self.certificates.admin_key,
            }}],
        });
        let path = self.kubeconfig();
        fs::write(&path, content.to_string()).map_err(Error::io(format!("write {}", path.display())))
    }
}

/// Ports that were free a moment ago. All are held at once, so that they differ.
fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("find a free port"))?;
        *port = listener.local_addr().map_err(Error::io("find a free port"))?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn local_url(scheme: &str, port: u16) -> Result<Uri, Error> {
    format!("{scheme}://127.0.0.1:{port}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| Error::io("write an address")(std::io::Error::other(error)))
}
