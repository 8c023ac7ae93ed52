package coderunner

import "strings"

// CacheVolume is the volume with what a user's builds have downloaded, for the next of them. No other
// user's build ever has it.
func CacheVolume(userID string) string { return cachePrefix + userID }

// IsCacheVolume reports whether a volume is some user's CacheVolume. It may go at any time.
func IsCacheVolume(name string) bool { return strings.HasPrefix(name, cachePrefix) }

const cachePrefix = "cache-"
