//! The two macros that all views are written with. Nothing else belongs here.

/// Structs that read an object of the Kubernetes API: names in camelCase, unknown fields ignored, and an absent field
/// or a `null` gives the default of its type.
macro_rules! view {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Hash, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(deserialize_with = "crate::manifest::meta::nullable")]
                pub $field: $type,
            )*
        }
    )*};
}

/// Views whose fields have defaults of their own: an absent field or a `null` gives the default that is written here.
macro_rules! view_with_defaults {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty = $default:expr,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Hash)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Written {
                    $($field: Option<$type>,)*
                }

                let written = Written::deserialize(deserializer)?;
                Ok(Self { $($field: written.$field.unwrap_or_else(|| $default),)* })
            }
        }
    )*};
}
