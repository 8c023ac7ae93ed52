package containerd

import "strings"

// Labels of a template's image, in its configuration and in the engine.
const (
	labelTemplateName   = "coderunner.io/template.name"
	labelTemplateDigest = "coderunner.io/template.digest"
	labelUserName       = "coderunner.io/user.name"
	labelUserHome       = "coderunner.io/user.home"
)

// Labels of a container.
const (
	labelInstance = "coderunner.io/instance"
	labelStandby  = "coderunner.io/standby" // whose it will be: the instance, of what no sandbox has taken yet
	labelName     = "coderunner.io/name"
	labelNetwork  = "coderunner.io/network"
	labelSpec     = "coderunner.io/spec"      // hash of what it was made from
	labelMaking   = "coderunner.io/making"    // there until Create has come to its end
	labelCreated  = "coderunner.io/created"   // when it was, if the engine has had its record for longer
	labelEnding   = "coderunner.io/ending"    // there while the sandbox is being destroyed
	labelDisk     = "coderunner.io/disk"      // how many bytes it may write to its root; there if that is bounded
	labelRoom     = "coderunner.io/room"      // of volumes whose excess counts as well: "name=bytes", with spaces between
	labelOverDisk = "coderunner.io/over-disk" // when it was ended because it had written more
)

// Labels of a snapshot. A sandbox's root has labelName only.
const (
	labelSnapshot = "coderunner.io/snapshot" // its name
	labelKeep     = "containerd.io/gc.root"  // the engine collects what has it not and is used by nothing
)

// Labels of both.
const (
	labelConfig = "coderunner.io/config" // the image configuration of the template, in JSON
	labelOwn    = "coderunner.io/label/" // and the caller's own labels
)

// addOwn adds the caller's labels. The engine keeps no empty values.
func addOwn(labels, own map[string]string) {
	for key, value := range own {
		labels[labelOwn+key] = "=" + value
	}
}

// ownLabels are the caller's among labels.
func ownLabels(labels map[string]string) map[string]string {
	own := map[string]string{}
	for key, value := range labels {
		if key, is := strings.CutPrefix(key, labelOwn); is {
			own[key] = strings.TrimPrefix(value, "=")
		}
	}
	return own
}
