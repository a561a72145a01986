//! The images that are run, made once.

use std::sync::OnceLock;

use albatross_core::image;

pub(crate) struct Image {
    pub(crate) octets: Vec<u8>,
    pub(crate) compressed: Vec<u8>,
    pub(crate) digest: [u8; 32],
    /// Whether it has the network device `service`.
    pub(crate) net: bool,
    /// Whether it has the block device `storage`.
    pub(crate) block: bool,
}

pub(crate) struct Images(pub(crate) [Image; 4]);

impl Images {
    pub(crate) fn get() -> &'static Self {
        static IMAGES: OnceLock<Images> = OnceLock::new();
        IMAGES.get_or_init(|| {
            let plain = include_bytes!("../../../testdata/images/spt-no-devices.elf").to_vec();
            let other = [&plain[..], b"another"].concat();
            let net = include_bytes!("../../../testdata/images/spt-net-service.elf").to_vec();
            let block = include_bytes!("../../../testdata/images/spt-block-storage.elf").to_vec();
            let all =
                [(plain, false, false), (other, false, false), (net, true, false), (block, false, true)];
            Self(all.map(|(octets, net, block)| Image {
                compressed: image::deflate(&octets, 6),
                digest: image::digest(&octets),
                octets,
                net,
                block,
            }))
        })
    }
}
