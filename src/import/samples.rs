//! Files that nats-server 2.15.1 has encrypted, in base 64: streams `late` of account `$G`.

/// `meta.key`, with chacha under `secret one`.
pub const CHACHA_META_KEY: &str = "\
    JwljXaCsAdixN0dOntU8IDkHzvyC5rbcXBVzC35/DGrrAZHg8I9iaaOM80K8LJjmbQKTfNlaHoum+y242vSHiUn7vAphm0av";

/// `meta.inf`.
pub const CHACHA_META: &str = "\
    pu7p84PfkSWJTzJee8Na3lOzuUFpDOPvQDXkt9d5YWt2K8/CNnULNHtiSANk5E8aZQ78weNUqMtIWy14j3GksJyvqCvYCZJt6EdiodEGaA2kLm\
    L238q87GSNpKoTbAKppSJm4Gsh3fgb7V0b6aZa8+CXCS8JST4Y9o6PjxmnYZPRtztlj+UoF4BmNCzbQwjkL+2AaUtaOBQeui0vNwU7GXgMt1yK\
    K+MhdjLCfcyvzXr/PCOPse19X2zpcEWY39mCuERtB3i8LrF3cmnjwByT/u9rjAhzz4bml3rEcL6TdiYhwz5kSjFds9caJCfYNvm19fPFFriv00\
    6GZjuG6sdaYreerX+FTMeti8j4E0X7lPOlbI7sdRIktTWUHhPQXNjx0WmOo14GiYrNeAKynemi9vi3SBg37el605GjoK19Hp72+hjZZ/VRYYbE\
    mlxTPAp6eV2CGDWnOGLZHQ3JNxDabaDHedNVmU+WEs4yc0+Kbi262tzBQf1ELoxglFmWnjZN2vsYx5ltjCQc9G/rWxAASZdsIZEze6myrGRZ1r\
    To2Kuk8w79LADV1tbbwk91gKH0+1LSyfAGkQ4KO10b46Hwh9CjIRrcMUBI4ms65wySv4dlnj8yq+SY/zvT9I4l+QW+PxGCekzhvDPoiB8YE5Z2\
    T/MyUQXK68YYZgmTqiJ/5r7PPwBUkCfG9jjFeQDFMRgLWbu/SIDczFMOKgedHp7pxDlIyLtU9jA3irxvUJKQyl5gGPNU";

/// `2.key`.
pub const CHACHA_BLOCK_KEY: &str = "\
    2O1FYB39g9buDQHoxADKLRFOZmNHWN83En6kheb6puqS32ZZa/YkIfBHCH6RahRlHQ5kZpAv5dBnyV1vI7Two5IBhcCCWT3o";

/// `2.blk`.
pub const CHACHA_BLOCK: &str = "\
    qvKvfXtunbtKLHZAdcaFgwz+pkqbwgpB1T8YOy1NSaV+mvMAFOSS4OWYwbZU4rSIXt90CK3PtoT9eOKmHfRvTUcDwUVO";

/// `meta.key`, with aes under `secret two`.
pub const AES_META_KEY: &str = "\
    auUNfntxcqDuom2+UEEPdj29DqqvCthje36/bPTaS+FO47e9YZtamvnj+I3rl7+XujwHGTI/8lTFLXaRhJAEMw==";

/// `meta.inf`.
pub const AES_META: &str = "\
    U9e3vBVUe7uxUL7cvP2RbGoY519jWnGUWYVRy/aTeROi9TVbknvmmglTSL8yMQOfrYoWQwfeX5zBlF54j8dGg+8wDNpDcnv3KCrinxTxR5M7M0\
    fCdUSP4wKx21UUOAB3Tb4c+dFC7kD9JfygpiaGcew/A4H79ZvHRIJC5LkCWOA/c8kBFjChR3UCImp2/uYyNQ6Yw1HogmN2KzcRYgfPX0XdFZfZ\
    OopKp55JOXTt2vhD878w42TYhX4EsWzRIBP/Qy+e4AnrLRbajlv5G8Cq3WqP73lCJTkBVV5FIAeu4VO1CfX6iIblkUgWZNPGiwBawPOy1brLRI\
    Gj+UO2E0UDzBhKcGt8nDqR7g756WndLWGcqfHPArTQld4CyojJgmX1VscER41bwB8gbKKREaxbMEJBNV2wHEVPutcEOdsmMeocrYD9dZa4ujDp\
    13jkI7bT7bo26JdzIunUneTDUnGEvE6Fqh2IphbYhL3apeWwj7pAuHvGuclnLHKbb/nerGaRQrZv4F9m3kKODDkp7iNKNv/pcT9WwejSvKyoBf\
    wROEvzJQvOSlrvq6LKfxe0GXlZ0USZiqr52AVoBfrauWsyTsMHZDlECHjH5U3qCuVabKAn5SPP4sAe/ov82dkrMpnc6/76sVV+JB+xpg+so2AG\
    jFLTVt7oOUtxlk4vv2YtgF+2K9DMfy7UWW12kujlvhTEfRhfopmb122nuf2+TAetxBePjE/FwR7ekHRHAg==";

/// `2.key`.
pub const AES_BLOCK_KEY: &str = "\
    hrEALswDO5pB1IRbbhDJ5I/mJHAnCha98Hgd7WiJdxhFtT4tSSOkWy4X7VNrF0V8takJaI+SFEKQ9M0OZX5aIw==";

/// `2.blk`.
pub const AES_BLOCK: &str = "\
    EPslokAcKHJFeMuusAj2/nqG0tJrwsQSul7+C4y2xgn8QwdCidvilsF3DwVl3wmou3vsQg7eRC/HZMCjYQsL4+EoeI+v";

/// `meta.sum`, with chacha.
pub const CHACHA_META_SUM: &str = "YzIzYjAwZDAxZTUwODEyYQ==";

/// `index.db`, with chacha.
pub const CHACHA_INDEX: &str = "\
    l9K0qZZP5Y+NIt7Ga8puUl6s9fwu0O+7wTZX0Vb1TCc0RoY4IN5cl7d2VX33go1IyGun9gQaIEtapYQJvU/AIIPjtVPIsLHHaKch0iuZKOXI18\
    udRt/y4dSd2ZZdXfKijb3uxmvMztQ=";

/// `meta.sum`, with aes.
pub const AES_META_SUM: &str = "NWIyNjQ2YTU2ZWQwM2ExNw==";

/// `index.db`, with aes.
pub const AES_INDEX: &str = "\
    UNFWpECQovocGTwH5mRiqns1upB2X+2rLLvF7gKsW1KTS1n3POczVdIQq8XU7a7bwpdhkQ2PYPJWmekhtixQv2ZeryGV63IACz+SjgyGC+wL45\
    iUVUcQ/GHylKmwyu6+";
