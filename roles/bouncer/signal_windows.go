package bouncer

import "os"

// askAgain are the signals at which the whole set is asked for; here there are none.
var askAgain []os.Signal
