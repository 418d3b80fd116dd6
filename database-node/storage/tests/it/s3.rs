//! A real S3 server in this process, on loopback, with its objects in a temporary directory.

use std::path::PathBuf;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use object_store::aws::AmazonS3Builder;
use pliantdb_storage::backup::BackupTarget;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const BUCKET: &str = "backups";

pub(crate) struct S3 {
    root: tempfile::TempDir,
    endpoint: String,
    /// Ends the server when dropped.
    _runtime: Runtime,
}

impl S3 {
    pub(crate) fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("ada", "engine of 1837"));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            root,
            endpoint,
            _runtime: runtime,
        }
    }

    /// By the way that users take: a URL and settings.
    pub(crate) fn open(&self, secret: &str) -> BackupTarget {
        let settings = [
            ("AWS_ENDPOINT", self.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "ada"),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ALLOW_HTTP", "true"),
            ("PATH", "/bin"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        BackupTarget::open(&format!("s3://{BUCKET}/of/the/node"), settings).unwrap()
    }

    pub(crate) fn target(&self) -> BackupTarget {
        self.open("engine of 1837")
    }

    /// Where the objects of the target lie as files.
    pub(crate) fn files(&self) -> PathBuf {
        self.root.path().join(BUCKET).join("of/the/node")
    }

    /// Nobody answers there any more.
    pub(crate) fn target_elsewhere() -> BackupTarget {
        Self::target_at("http://127.0.0.1:1")
    }

    /// The server, as if it spoke TLS.
    pub(crate) fn target_with_tls(&self) -> BackupTarget {
        Self::target_at(&self.endpoint.replace("http:", "https:"))
    }

    fn target_at(endpoint: &str) -> BackupTarget {
        let store = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_bucket_name(BUCKET)
            .with_access_key_id("ada")
            .with_secret_access_key("secret of nobody")
            .with_allow_http(true)
            .with_retry(object_store::RetryConfig {
                max_retries: 0,
                ..Default::default()
            })
            .build()
            .unwrap();
        BackupTarget::new("s3://nowhere".to_owned(), Arc::new(store), "".into()).unwrap()
    }
}
