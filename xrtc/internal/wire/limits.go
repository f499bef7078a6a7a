package wire

// Headers of our own. Servers and clients that do not know them pass over them.
const (
	LimitsHeader = "Xrtc-Limits" // of the answer to a login: Limits
	PreferHeader = "Prefer"      // of a get
	PreferPlaces = "xrtc-places" // value: tell where in their portals items are
)

// Limits are what a server announces, as JSON. Times are in milliseconds.
type Limits struct {
	PayloadSizeMax    int   `json:"payload-size-max"`
	PortalsCountMax   int   `json:"portals-count-max"`
	RequestsPerSecond int   `json:"requests-per-second"`
	ItemAgeMax        int64 `json:"item-age-max"`
	GetItemTimeout    int64 `json:"get-item-timeout"`
	LoginTimeout      int64 `json:"login-timeout"`
}
