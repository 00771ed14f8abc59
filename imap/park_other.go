//go:build !linux

package imap

import (
	"errors"
	"net"
	"time"
)

// canPark tells that sessions keep their goroutines on this system.
const canPark = false

// poller does not exist on this system.
type poller struct{}

func newPoller() (*poller, error) { return nil, errors.ErrUnsupported }

func (*poller) arm(*net.TCPConn) (int, error) { return 0, errors.ErrUnsupported }
func (*poller) setDeadline(time.Time)         {}
func (*poller) wait() ([]int, error)          { return nil, errors.ErrUnsupported }
func (*poller) close()                        {}
