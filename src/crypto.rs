//! Cryptography of TLS and certificates: ring, or with the feature `fips` the FIPS 140-3 module of AWS-LC.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

#[cfg(not(any(feature = "ring", feature = "fips")))]
compile_error!("cryptography comes from one of two features: ring, the default, or fips");

/// Returns the provider for TLS; if both features are on, that of `fips`.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "fips")]
    return Arc::new(rustls::crypto::default_fips_provider());
    #[cfg(not(feature = "fips"))]
    return Arc::new(rustls::crypto::ring::default_provider());
}

/// Installs the provider as the process's default, which the API client uses. An already installed provider is kept.
pub fn install() {
    CryptoProvider::install_default(Arc::unwrap_or_clone(provider())).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fips_feature_links_the_validated_module() {
        assert_eq!(provider().fips(), cfg!(feature = "fips"));
    }
}
