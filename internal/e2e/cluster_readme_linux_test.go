package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestREADMEOfSeveralMachines starts what the README starts, word for word, in a network of
// its own, kills one of each kind, and moves the cars from a file and back.
func TestREADMEOfSeveralMachines(t *testing.T) {
	if testing.Short() {
		t.Skip("takes many seconds; run without -short")
	}
	for _, tool := range [][2]string{{"bash", "bash"}, {"curl", "curl"}, {"jq", "jq"}, {"etcd", "etcd-server"}, {"haproxy", "haproxy"}, {"ip", "iproute2"}} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			t.Skipf("needs %s: apt-get install %s", tool[0], tool[1])
		}
	}
	if out, err := exec.Command("unshare", "-n", "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Skipf("needs to make a network, and unshare says %v: %s", err, out)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	block := func(with string) string {
		all := blocks(t)
		i := slices.IndexFunc(all, func(block []string) bool { return strings.Contains(strings.Join(block, "\n"), with) })
		if i < 0 {
			t.Fatalf("the README has no block with %q", with)
		}
		return strings.Join(all[i], "\n") + "\n"
	}
	dir := t.TempDir()
	if err := os.Symlink(path, filepath.Join(dir, "cars")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "haproxy.cfg"), []byte(block("option httpchk GET /readyz")), 0o644); err != nil {
		t.Fatal(err)
	}
	script := "set -euo pipefail\nip link set lo up\ntrap 'kill $(jobs -p)' EXIT\n" +
		"until_ready() { for n in $(seq 300); do curl -fsm 2 -o /dev/null $1/readyz && return; sleep 0.1; done; echo $1 is not ready; return 1; }\n" +
		block("etcd --name m$n") +
		"haproxy -f haproxy.cfg &\n" +
		"for port in 8081 8082 8083 8090; do until_ready localhost:$port; done\n" +
		"post() { curl -fsm 9 -X POST -H 'Content-Type: application/json' -d '{\"name\":\"Saab 900\",\"manufacturer\":\"Saab\"}' $1/api/cars | jq .id; }\n" +
		"[ $(post localhost:8081) = 33 ]\n[ $(post localhost:8082) = 34 ]\n[ $(curl -fs localhost:8083/api/cars/34 | jq .id) = 34 ]\n[ $(post localhost:8090) = 35 ]\n" +
		"kill -9 $(pgrep -P $$ etcd | head -n 1) $(pgrep -P $$ cars | head -n 1)\n" +
		"last=35\nfor n in $(seq 100); do id=$(post localhost:8090) || id=; [ -z \"$id\" ] && sleep 0.1 && continue; [ $id -gt $last ]; last=$id; [ $n -gt 20 ] && break; done\n[ $last -ge 40 ]\n" +
		"until_ready localhost:8082\nuntil_ready localhost:8083\n" +
		"./cars -addr localhost:8080 -delay 0 -log-level warn &\nuntil_ready localhost:8080\n" +
		"curl -fs -X DELETE localhost:8080/api/cars/7 > /dev/null\n" +
		strings.ReplaceAll(block("localhost:8081/api/cars --json @-"), "8081", "8082") +
		"[ $(curl -fs localhost:8083/api/cars | jq length) = 31 ]\n" +
		"curl -fs -X DELETE localhost:8083/api/cars/8 > /dev/null\n" +
		strings.NewReplacer("8080", "8083", "8081", "8080").Replace(block("localhost:8081/api/cars --json @-")) +
		"[ $(curl -fs localhost:8080/api/cars | jq length) = 30 ]\necho all is well\n"
	cmd := exec.Command("unshare", "-n", "bash", "-xc", script)
	cmd.Dir = dir
	file, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = file, file
	late := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Run(); err != nil || !strings.Contains(read(t, file.Name()), "\nall is well\n") {
		t.Errorf("got %v:\n%s", err, tail(read(t, file.Name()), 60))
	}
}
