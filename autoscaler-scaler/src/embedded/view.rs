//! How a client sees stored objects. May hold: the version and form in which an answer shows an object.

use std::sync::Arc;

use serde_json::{Value, json};

use super::events;
use super::object::set;
use super::resource::ResourceType;

/// A resource in the version, and the form, that a request asked for.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) ty: Arc<ResourceType>,
    pub(super) version: String,
    /// Only `metadata` (`PartialObjectMetadata`).
    pub(super) metadata_only: bool,
}

impl View {
    pub(super) fn kind(&self) -> &str {
        if self.metadata_only {
            "PartialObjectMetadata"
        } else {
            &self.ty.kind
        }
    }

    fn list_kind(&self) -> &str {
        if self.metadata_only {
            "PartialObjectMetadataList"
        } else {
            &self.ty.list_kind
        }
    }

    pub(super) fn api_version(&self) -> String {
        if self.metadata_only {
            "meta.k8s.io/v1".to_owned()
        } else {
            self.ty.api_version(&self.version)
        }
    }

    /// A stored object as the client sees it.
    pub(super) fn show(&self, stored: &Value) -> Value {
        if self.metadata_only {
            let metadata = stored.get("metadata").cloned().unwrap_or_default();
            return json!({ "kind": self.kind(), "apiVersion": self.api_version(), "metadata": metadata });
        }
        let mut object = stored.clone();
        if self.ty.id.group == "events.k8s.io" {
            object = events::from_core(object);
        }
        set(&mut object, &["apiVersion"], Some(json!(self.api_version())));
        object
    }

    /// A list as the client sees it.
    pub(super) fn show_list<'a>(&self, stored: impl Iterator<Item = &'a Arc<Value>>, revision: u64) -> Value {
        let items = stored.map(|object| {
            let mut item = self.show(object);
            // Lists of built-in types name the type once, for the list.
            if let (false, Some(fields)) = (self.ty.custom || self.metadata_only, item.as_object_mut()) {
                fields.remove("apiVersion");
                fields.remove("kind");
            }
            item
        });
        json!({
            "kind": self.list_kind(),
            "apiVersion": self.api_version(),
            "metadata": { "resourceVersion": revision.to_string() },
            "items": items.collect::<Vec<_>>(),
        })
    }
}
